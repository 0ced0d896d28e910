"""A command whose training steps take a while, to be killed from outside."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightly_adv.cli.checkpoints import SaveLast
from lightly_adv.cli.main import main


def _wait(*_: Any) -> None:
    time.sleep(0.1)


if __name__ == "__main__":
    SaveLast.on_train_batch_start = _wait  # type: ignore[method-assign, assignment]
    sys.exit(main(sys.argv[1:]))
