"""However a batch is attacked in training, the host reads from it once.

The first batch may be read from more often: views are told from other tensors, reached
ones from others, and the isolation is verified.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialLoss, AdversarialTraining, ThreatModel
from lightly_adv.methods import (
    AdversarialModule,
    PretextEnsembleModule,
    PretextModule,
    RobustClassifier,
)
from tests import zoo
from tests.dispatch import reads
from tests.methods.published import METHODS, Published

pytestmark = pytest.mark.filterwarnings("ignore")

ATTACK = PGD(ThreatModel(eps=0.05), steps=3)


class Reading(zoo.Base):
    """A step that reads nothing itself."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = batch[0]
        return (self(first) - self(second)).square().mean()


@pytest.mark.parametrize("mode", ["replace", "dual"])
@pytest.mark.parametrize("options", [{}, {"independent": True}, {"bn_mode": "eval"}])
def test_the_callback(
    mode: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    step = AdversarialTraining._training_step

    def counted(self: AdversarialTraining, *args: Any) -> Any:
        with reads() as seen:
            found = step(self, *args)
        counts.append(seen.count)
        return found

    monkeypatch.setattr(AdversarialTraining, "_training_step", counted)
    zoo.fit(Reading, [AdversarialTraining(ATTACK, mode=mode, **options)])
    assert len(counts) == 2 * zoo.STEPS
    assert counts[1:] == [1] * (len(counts) - 1)


@pytest.mark.parametrize("mode", ["replace", "dual"])
def test_the_loss(mode: Any) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    criterion = AdversarialLoss(nn.MSELoss(), ATTACK, mode=mode)
    generator = torch.Generator()

    def batch() -> int:
        views = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
        with reads() as seen:
            criterion(network, views, generator=generator)
        return seen.count

    assert batch() > 1
    assert [batch(), batch()] == [1, 1]


class Own(AdversarialModule):
    """A module as users write it."""

    def __init__(self) -> None:
        super().__init__(ATTACK)
        self.backbone = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images = batch[0]
        target = self.backbone(images).detach()

        def distance(first: Tensor, second: Tensor) -> Tensor:
            moved: Tensor = self.backbone(first) - target + self.backbone(second)
            return moved.square().sum(dim=1)

        perturbed = self.perturb(distance, images, images)
        return distance(*perturbed).mean()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_published_methods(method: Published) -> None:
    module = method.create(steps=2)
    for _ in range(2):
        views = method.batch()
        with reads() as seen:
            module.training_step((views, torch.arange(len(views[0]))), 0)
        assert seen.count == 1, seen.places


@pytest.mark.parametrize(
    "create",
    [
        lambda: PretextModule("rotation", backbone="resnet8_tiny", attack=ATTACK),
        lambda: PretextModule("jigsaw", backbone="resnet8_tiny", attack=ATTACK),
        lambda: PretextModule("selfie", backbone="resnet8_tiny", attack=ATTACK),
        lambda: PretextEnsembleModule(
            backbone="resnet8_tiny", attack=ATTACK, diversity_weight=0.1
        ),
        lambda: RobustClassifier("resnet8_tiny", num_classes=4, attack=ATTACK),
        lambda: RobustClassifier(
            "resnet8_tiny", num_classes=4, attack=ATTACK, criterion="trades"
        ),
        Own,
    ],
)
def test_the_modules(create: Callable[[], Any]) -> None:
    module = create()
    for _ in range(2):
        batch = torch.rand(8, 3, 32, 32), torch.arange(8) % 4
        with reads() as seen:
            module.training_step(batch, 0)
        assert seen.count == 1, seen.places
