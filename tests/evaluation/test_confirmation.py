from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import PGD, Attack
from lightly_adv.evaluation import (
    Suite,
    evaluate_encoder,
    evaluate_robustness,
    measure_transfer,
    robust_curve,
)
from lightly_adv.evaluation.confirmation import Shown, UnconfirmedError
from lightly_adv.evaluation.corruptions import evaluate_corruptions
from lightly_adv.evaluation.unforeseen import evaluate_unforeseen
from lightly_adv.threat_model import ThreatModel

SIDE, EPS = 16, 2 / 255
THREAT_MODEL = ThreatModel(eps=EPS)
OUTSIDE: dict[str, float] = {}
"""State that no module holds."""


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(3 * SIDE * SIDE, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits


class Drifting(Linear):
    """Adapts to what it sees, where nobody can undo it."""

    def forward(self, images: Tensor) -> Tensor:
        mean = OUTSIDE.get("mean", 0.0)
        OUTSIDE["mean"] = 0.9 * mean + 0.1 * float(images.detach().mean())
        drift = 4 * mean * torch.tensor([1.0, -1.0, 0.5, 0.0])
        return super().forward(images) + drift


class Tiring(Linear):
    """Answers otherwise from its tenth call on."""

    def forward(self, images: Tensor) -> Tensor:
        OUTSIDE["calls"] = OUTSIDE.get("calls", 0) + 1
        logits = super().forward(images)
        return -logits if OUTSIDE["calls"] > 10 else logits


class Noisy(Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 0.3 * torch.randn_like(images))


class OwnNoise(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.generator = Generator().manual_seed(0)

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn(images.shape, generator=self.generator)
        return super().forward(images + 0.3 * noise)


class Centred(Linear):
    """Looks at the whole batch."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0))


@pytest.fixture(autouse=True)
def nothing_outside() -> None:
    OUTSIDE.clear()


def data(count: int = 24) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 3, SIDE, SIDE, generator=Generator().manual_seed(1))
    return images, Linear()(images).argmax(dim=1)


def loader() -> list[tuple[Tensor, Tensor]]:
    images, labels = data()
    parts = (torch.split(each, 12) for each in (images, labels))
    return list(zip(*parts, strict=True))


def robustness(model: nn.Module) -> Any:
    return evaluate_robustness(model, loader(), THREAT_MODEL, checks=())


def curve(model: nn.Module) -> Any:
    return robust_curve(model, loader(), THREAT_MODEL, [EPS])


def unforeseen(model: nn.Module) -> Any:
    return evaluate_unforeseen(model, loader(), ["l2", "fog"], steps=2)


def corruptions(model: nn.Module) -> Any:
    return evaluate_corruptions(model, loader(), ["fog", "contrast"])


def encoder(model: nn.Module) -> Any:
    return evaluate_encoder(model, loader(), THREAT_MODEL, steps=6)


def transfer(model: nn.Module) -> Any:
    attack = PGD(THREAT_MODEL, steps=6)
    return measure_transfer({"one": model, "other": Linear()}, loader(), attack)


PATHS = [robustness, curve, unforeseen, corruptions, encoder, transfer]


@pytest.mark.parametrize("path", PATHS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", [Drifting, Tiring])
def test_a_model_that_moves_out_of_reach_gives_no_number(
    path: Callable[[nn.Module], Any], kind: type[nn.Module]
) -> None:
    with pytest.raises(UnconfirmedError, match="buffers"):
        path(kind())


@pytest.mark.parametrize("path", PATHS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("kind", [Noisy, OwnNoise, Centred])
def test_a_model_that_is_honest_about_its_chance_gives_a_number(
    path: Callable[[nn.Module], Any], kind: type[nn.Module]
) -> None:
    path(kind())


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images that evaluations have decided by."""
    seen: list[Tensor] = []

    def confirm(self: Shown, model: nn.Module, *args: Any) -> None:
        seen.append(self._images)

    monkeypatch.setattr(Shown, "confirm", confirm)
    return seen


def test_a_model_asked_by_hand_agrees_with_the_flags_of_a_suite(
    shown: list[Tensor],
) -> None:
    report = robustness(Linear())
    attacked, (images, labels) = torch.cat(shown), data()
    again = Linear()(attacked).argmax(dim=1)
    assert torch.equal(again == labels, report.flags["pgd"])
    assert torch.equal(again, report.predictions["attacked"])
    assert float((attacked - images).abs().max()) <= EPS + 1e-6
    assert 0 < report.robust_accuracy < 100


def test_a_model_asked_by_hand_agrees_with_the_flags_of_corruptions(
    shown: list[Tensor],
) -> None:
    report = evaluate_corruptions(Linear(), [data()], ["fog", "contrast"])
    images, labels = data()
    clean, corrupted = shown
    assert torch.equal(clean, images)
    right = Linear()(corrupted).argmax(dim=1) == labels
    flags = torch.cat([report.flags["fog"], report.flags["contrast"]])
    rows = torch.arange(len(labels))
    assert torch.equal(right, flags[rows % 10, rows])


def test_a_model_asked_by_hand_agrees_with_the_flags_of_unforeseen_attacks(
    shown: list[Tensor],
) -> None:
    report = evaluate_unforeseen(Linear(), [data()], ["l2", "fog"], steps=3)
    _, labels = data()
    right = Linear()(shown[1]).argmax(dim=1) == labels
    flags = torch.cat([report.flags["l2"], report.flags["fog"]])
    rows = torch.arange(len(labels))
    assert torch.equal(right, flags[rows % len(flags), rows])


class Lying(PGD):
    """Returns images that are farther away than allowed."""

    def perturb_views(self, objective: Any, views: Any, **options: Any) -> list[Tensor]:
        return [(view + 0.2).clamp(0, 1) for view in views]


class Overwriting(PGD):
    """Perturbs in place what it is given."""

    def perturb_views(self, objective: Any, views: Any, **options: Any) -> list[Tensor]:
        (found,) = super().perturb_views(objective, views, **options)
        views[0].copy_(found)
        return list(views)


def suite(kind: type[Attack]) -> Suite:
    return Suite("own", lambda threat_model: {"own": kind(threat_model, steps=20)})


def test_an_attack_that_leaves_the_ball_gives_no_number() -> None:
    with pytest.raises(ValueError, match="eps"):
        evaluate_robustness(Linear(), loader(), THREAT_MODEL, suite=suite(Lying))


def test_an_attack_that_works_in_place_is_counted() -> None:
    batches = loader()
    before = [images.clone() for images, _ in batches]
    one, other = (
        evaluate_robustness(
            Linear(), batches, THREAT_MODEL, suite=suite(kind), checks=()
        )
        for kind in (PGD, Overwriting)
    )
    assert one.robust_accuracy == other.robust_accuracy < 100
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, batches, strict=True))


def test_rounding_is_no_other_answer() -> None:
    images = torch.rand(4, 3, 2, 2)
    said = torch.tensor([[1.0, 1.0 + 1e-6, -3.0]]).expand(4, 3)
    Shown(images, said).confirm(Constant(torch.tensor([[1.0 + 1e-6, 1.0, -3.0]])))
    with pytest.raises(UnconfirmedError, match="4 of 4"):
        Shown(images, said).confirm(Constant(torch.tensor([[-3.0, 1.0, 1.5]])))


class Constant(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)
