"""A command whose training steps and evaluations take a while, to be killed outside."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

from lightly_adv.cli.checkpoints import SaveLast
from lightly_adv.cli.main import main
from lightly_adv.methods import RobustClassifier


def _wait(*_: Any) -> None:
    time.sleep(0.1)


def _forward_slowly(self: RobustClassifier, images: torch.Tensor) -> torch.Tensor:
    _wait()
    return _forward(self, images)


_forward = RobustClassifier.forward

if __name__ == "__main__":
    SaveLast.on_train_batch_start = _wait  # type: ignore[method-assign, assignment]
    if sys.argv[1] == "evaluate":
        RobustClassifier.forward = _forward_slowly  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
