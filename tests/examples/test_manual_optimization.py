"""Two optimizers in a step that attacks by itself."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import Tensor

from lightly_adv.attacks import Attack
from lightly_adv.functional import pixels
from tests.examples.watching import EXAMPLES, IMAGES

SCRIPT = EXAMPLES / "manual_optimization" / "simclr.py"


@pytest.mark.filterwarnings("ignore")
def test_both_losses_are_attacked_and_each_optimizer_steps_once(
    images: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[list[float]] = []
    run: Callable[..., list[Tensor]] = Attack.perturb_views

    def watched(self: Attack, objective: Any, views: Any, **options: Any) -> Any:
        found = run(self, objective, views, **options)
        moved.append([_distance(a, b) for a, b in zip(views, found, strict=True)])
        return found

    monkeypatch.setattr(Attack, "perturb_views", watched)
    options = ["--data", str(images), "--epochs", "1", "--batch-size", str(IMAGES)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    torch.manual_seed(0)
    names = runpy.run_path(str(SCRIPT), run_name="__main__")
    model, trainer = names["model"], names["trainer"]
    assert [len(each) for each in moved] == [2, 1]
    assert all(0.9 * 8 <= 255 * each <= 8.001 for views in moved for each in views)
    # Two optimizers make two steps of one batch.
    assert trainer.global_step == 2
    assert {"train_loss_ssl", "train_loss_online"} <= set(trainer.callback_metrics)
    # The real passes count: two views with SimCLR's loss, one with the classifier's.
    counts = {
        int(buffer)
        for name, buffer in model.backbone.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    assert counts == {3}
    assert all(each.grad is not None for each in model.parameters())


def _distance(first: Tensor, second: Tensor) -> float:
    clean, perturbed = (
        pixels.to_pixels(each, IMAGENET_NORMALIZE) for each in (first, second)
    )
    return float((perturbed - clean).abs().max())
