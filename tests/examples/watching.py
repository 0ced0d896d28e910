"""Runs an example in this process, and watches what it does."""

from __future__ import annotations

import dataclasses
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from lightly_adv.attacks import Attack
from lightly_adv.functional import pixels
from lightly_adv.isolation import leaks

EXAMPLES = Path(__file__).parents[2] / "examples"
EPS = 8 / 255
STEPS = 3
"""Steps of the attack; the examples take five, which is only slower."""
IMAGES = 8
"""Images in the folder and in a batch, so that an epoch is one batch."""

VIEWS = {
    "simclr": 2,
    "moco": 1,
    "byol": 2,
    "simsiam": 2,
    "barlowtwins": 2,
    "vicreg": 2,
    "dino": 8,
    "swav": 8,
    "mae": 1,
    "rotation": 1,
}
"""How many views of each method are attacked."""

HALF_SEEN = ("simsiam",)
"""The attack sees one branch of the loss, which need not rise at once as a whole."""


@dataclass
class Call:
    """One call of the attack."""

    changes: list[float]
    """By how much each view changed at most, in pixels."""
    before: float
    after: float
    """The attacked loss on the clean and on the perturbed views."""
    leaked: list[str]
    """What the attack changed in the modules and in the random streams."""


@dataclass
class Run:
    """What an example did, and the names that it leaves behind."""

    calls: list[Call] = field(default_factory=list)
    moved: list[bool] = field(default_factory=list)
    """Whether weights changed, for each step of the optimiser."""
    names: dict[str, Any] = field(default_factory=dict)

    def check(self, method: str, *, epochs: int) -> None:
        """Each batch was attacked once and trained on once, and nothing leaked."""
        assert len(self.calls) == epochs
        assert self.moved == [True] * epochs
        for call in self.calls:
            assert len(call.changes) == VIEWS[method]
            assert all(EPS / 2 < each < EPS + 1e-6 for each in call.changes)
            assert call.leaked == []
            assert call.after > call.before or method in HALF_SEEN


def run(path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, *, epochs: int) -> Run:
    """Run a script on a folder of images, from the same random state each time."""
    torch.manual_seed(0)
    np.random.seed(0)
    found = Run()
    options = ("--epochs", str(epochs), "--batch-size", str(IMAGES))
    monkeypatch.setattr(sys, "argv", [str(path), "--data", str(data), *options])
    monkeypatch.setattr(
        Attack, "perturb_views", _watched(Attack.perturb_views, found.calls)
    )
    with _steps_watched(found.moved):
        found.names = runpy.run_path(str(path), run_name="__main__")
    return found


def _watched(attack: Callable[..., list[Tensor]], calls: list[Call]) -> Any:
    def watched(
        self: Attack, objective: Any, views: Sequence[Tensor], **options: Any
    ) -> list[Tensor]:
        self = dataclasses.replace(self, steps=STEPS)
        state = _state(objective)
        before = leaks.snapshot(state)
        perturbed = attack(self, objective, views, **options)
        leaked = before.changes(leaks.snapshot(state))
        with torch.no_grad():
            first, last = (float(objective(each)) for each in (views, perturbed))
        calls.append(Call(_changes(views, perturbed), first, last, leaked))
        return perturbed

    return watched


def _state(objective: Any) -> nn.Module:
    """Return the modules that an objective works with."""
    while hasattr(objective, "objective"):  # what watches another one
        objective = objective.objective
    if hasattr(objective, "module"):
        module: nn.Module = objective.module
        return module
    names = objective.__globals__
    return nn.ModuleList([names["model"], names["criterion"]])


def _changes(views: Sequence[Tensor], perturbed: Sequence[Tensor]) -> list[float]:
    return [
        float((_pixels(new) - _pixels(old)).abs().max())
        for old, new in zip(views, perturbed, strict=True)
    ]


def _pixels(view: Tensor) -> Tensor:
    return pixels.to_pixels(view, IMAGENET_NORMALIZE)


@contextmanager
def _steps_watched(moved: list[bool]) -> Iterator[None]:
    kept: list[Tensor] = []

    def weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
        return [each for group in optimizer.param_groups for each in group["params"]]

    def before(optimizer: Any, *_: Any) -> None:
        kept[:] = [each.detach().clone() for each in weights(optimizer)]

    def after(optimizer: Any, *_: Any) -> None:
        pairs = zip(kept, weights(optimizer), strict=True)
        moved.append(any(not torch.equal(old, new) for old, new in pairs))

    hooks = (
        register_optimizer_step_pre_hook(before),
        register_optimizer_step_post_hook(after),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
