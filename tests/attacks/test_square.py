from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import ClassificationObjective, Square
from lightly_adv.testing import AttackTester
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats


class Watched(nn.Module):
    """Which side of a plane an image lies on; remembers what it was asked."""

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        generator = Generator().manual_seed(0)
        self.normal = torch.randn(1, 3, 8, 8, generator=generator)
        self.scale = scale
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(images)
        side = self.scale * ((images - 0.5) * self.normal).flatten(1).sum(1)
        return torch.stack([side, -side], dim=1)


def sample_images(model: Watched) -> tuple[Tensor, Tensor]:
    images = torch.rand(30, 3, 8, 8, generator=Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    model.asked.clear()
    return images, labels


def search(model: Watched, threat_model: ThreatModel, queries: int = 60) -> Tensor:
    return broken(model, *sample_images(model), Square(threat_model, steps=queries))


def broken(model: nn.Module, images: Tensor, labels: Tensor, attack: Square) -> Tensor:
    objective = ClassificationObjective(model, labels)
    generator = Generator().manual_seed(3)
    (perturbed,) = attack(objective, [images], generator=generator)
    attack.threat_model.check(images, perturbed)
    wrong: Tensor = model(perturbed).argmax(dim=1) != labels
    return wrong


@pytest.mark.parametrize(
    "threat_model",
    [ThreatModel(eps=0.15), ThreatModel("L2", 1.2), ThreatModel("L1", 25.0)],
    ids=lambda threat_model: threat_model.norm,
)
def test_what_it_breaks_is_within_reach(threat_model: ThreatModel) -> None:
    model = Watched()
    wrong = search(model, threat_model)
    images, labels = sample_images(model)
    slope = model.normal.expand_as(images)
    reach = {
        "Linf": slope.abs().flatten(1).sum(1),
        "L2": slope.flatten(1).norm(dim=1),
        "L1": slope.abs().flatten(1).amax(1),
    }[threat_model.norm] * threat_model.eps
    margin = model(images)[:, 0].abs()
    assert not wrong[margin > reach].any(), "no attack can break these"
    assert int(wrong.sum()) >= 5, "it finds something"
    random = threat_model.random_start(
        threat_model.box(images), generator=Generator().manual_seed(4)
    )
    by_chance = model(images + random).argmax(1) != labels
    assert int(wrong.sum()) > int(by_chance.sum()), "and more than chance does"


def test_all_that_is_asked_is_allowed_and_no_more_than_that_often() -> None:
    model, threat_model = Watched(), ThreatModel(eps=0.05)
    wrong = search(model, threat_model, queries=12)
    images, _ = sample_images(Watched())
    *asked, last = model.asked
    assert len(last) == 30, "the call of this test"
    assert len(asked) <= 12
    assert len(asked[0]) == 30
    assert len(asked[-1]) >= 30 - int(wrong.sum())
    threat_model.check(images, model.asked[0])
    for queried in model.asked:
        assert queried.min() >= 0
        assert queried.max() <= 1


def test_the_scale_of_the_logits_does_not_matter() -> None:
    threat_model = ThreatModel(eps=0.1)
    found = [search(Watched(scale=scale), threat_model) for scale in (1.0, 2.0**20)]
    assert torch.equal(*found)


def test_normalised_images() -> None:
    class Normalised(Watched):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images * 0.25 + 0.5)

    plain, normalised = Watched(), Normalised()
    images, labels = sample_images(plain)
    stats: NormalizeStats = {"mean": [0.5] * 3, "std": [0.25] * 3}
    attack = Square(ThreatModel(eps=0.1, normalize=stats), steps=30)
    wrong = broken(normalised, (images - 0.5) / 0.25, labels, attack)
    assert torch.equal(wrong, search(plain, ThreatModel(eps=0.1), queries=30))


def test_it_has_to_know_the_classifier() -> None:
    attack = Square(ThreatModel(eps=0.1), steps=2)
    with pytest.raises(TypeError, match=r"Square .*ClassificationObjective"):
        attack(lambda views: views[0].sum(), [torch.rand(2, 3, 8, 8)])


@pytest.mark.parametrize("check", AttackTester.checks())
def test_restarts_pass_the_table(check: str) -> None:
    AttackTester(lambda each: Square(each, steps=20, restarts=2), classifies=True).run(
        check
    )
