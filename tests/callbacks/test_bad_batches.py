"""A batch that cannot be attacked is trained on as it would be without us."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.errors import NotFiniteError, OutOfRangeError
from tests import zoo

BAD = 1
"""The index of the batch that is bad."""


class Skipping(zoo.Base):
    """Leaves out what is not finite, as a GradScaler does, and keeps what it saw."""

    kind = "none"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        views = [view.detach().clone() for view in batch[0]]
        self.seen = [*self.seen, views]
        given = [view.nan_to_num(0.5) for view in batch[0]]
        loss = super().training_step([given, *batch[1:]], batch_idx)
        if batch_idx % zoo.STEPS == BAD or self.kind.startswith("all"):
            if self.kind.endswith("loss"):
                loss = loss * torch.inf
            if self.kind.endswith("gradient"):
                loss = loss + sum((0 * view).sqrt().sum() for view in given)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for each in self.parameters():
            if each.grad is not None:
                each.grad.nan_to_num_(0, 0, 0)


def kinds(kind: str) -> tuple[type[Skipping], Any]:
    data = [[list(views), *rest] for views, *rest in zoo.batches()]
    for at, (views, *_) in enumerate(data):
        if at == BAD or kind.startswith("all"):
            if kind.endswith("view"):
                views[1] = views[1].clone()
                views[1][0, 0, 0, 0] = torch.nan
            if kind.endswith("range"):
                views[1] = views[1] * 255
            if kind.endswith("pixels"):
                views[1] = views[1] * 1.02
    loader: Any = torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]
    return type(kind, (Skipping,), {"kind": kind}), loader


def said(record: list[warnings.WarningMessage], word: str) -> list[str]:
    return [str(each.message) for each in record if word in str(each.message)]


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("kind", ["loss", "gradient", "view", "range"])
def test_it_is_left_clean_and_said_once(kind: str, mode: Any) -> None:
    create, data = kinds(kind)
    callback = AdversarialTraining(PGD(ThreatModel(eps=0.05), steps=2), mode=mode)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        module, _ = zoo.fit(create, [callback], data=data)
    (text,) = said(record, "without an attack")
    assert f"batch {BAD} is trained on" in text
    assert callback._attacked.clean.count == 2  # of two epochs
    assert isinstance(module, Skipping)
    assert len(module.seen) == 2 * zoo.STEPS
    for at, seen in enumerate(module.seen):
        clean = list(data)[at % zoo.STEPS][0]
        same = all(
            torch.equal(a.nan_to_num(9), b.nan_to_num(9))
            for a, b in zip(seen, clean, strict=True)
        )
        assert same == (at % zoo.STEPS == BAD or mode == "dual")


@pytest.mark.parametrize("kind", ["loss", "gradient", "view", "range", "pixels"])
def test_at_eps_zero_nothing_changes(kind: str) -> None:
    create, data = kinds(kind)
    plain = zoo.state(*zoo.fit(create, [], data=data))
    callback = AdversarialTraining(PGD(ThreatModel(eps=0.0), steps=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attacked = zoo.state(*zoo.fit(create, [callback], data=data))
    assert plain.changes(attacked) == []


@pytest.mark.parametrize(
    ("kind", "error", "steps"),
    [
        ("all loss", NotFiniteError, 2),
        ("all gradient", NotFiniteError, 2),
        ("all view", NotFiniteError, 2),
        ("all range", OutOfRangeError, 0),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_at_the_beginning_it_is_an_error(
    kind: str, error: type[Exception], steps: int
) -> None:
    create, data = kinds(kind)
    modules: list[Skipping] = []

    def kept() -> Skipping:
        modules.append(create())
        return modules[0]

    with pytest.raises(error):
        zoo.fit(kept, [AdversarialTraining(PGD(ThreatModel(eps=0.05)))], data=data)
    assert len(modules[0].seen) == steps


def test_pixels_that_overshoot_are_said_once() -> None:
    create, data = kinds("all pixels")
    callback = AdversarialTraining(PGD(ThreatModel(eps=0.05), steps=2))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        module, _ = zoo.fit(create, [callback], data=data)
    (text,) = said(record, "overshoot")
    places = [each.filename for each in record if "overshoot" in str(each.message)]
    assert "pytorch_lightning" in places[0]
    assert "clamp" in text
    assert "bounds=" in text
    assert callback._attacked.clean.count == 0
    assert isinstance(module, Skipping)
    for seen, batch in zip(module.seen, list(data) * 2, strict=True):
        outside = batch[0][1] > 1.001
        assert torch.equal(seen[1][outside], batch[0][1][outside])
        assert not torch.equal(seen[1], batch[0][1])
