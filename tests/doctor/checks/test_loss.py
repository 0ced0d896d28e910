from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return -grads[0]


def turned(images: Tensor) -> Tensor:
    """Turn the gradient around."""
    found: Tensor = Reversed.apply(images)
    return found


class Backwards(Healthy):
    """Has a gradient that leads down."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(turned(images))


class Rough(Healthy):
    """Rises by a small step, but any larger one is thrown far below."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        rise = (batch[0] - healthy.images()).mean()
        loss = super().training_step(batch, batch_idx) * 1e-3
        return loss + rise - 1000 * (rise - 3 / 255).clamp(min=0)


class Moded(Healthy):
    """Has a BatchNorm layer that has seen batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        assert self.norm.num_batches_tracked is not None
        self.norm.num_batches_tracked += 1


class OnlyInBatches(Moded):
    """Has a gradient that leads down in eval mode only."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.norm.training:
            images = turned(images)
        return super().forward(self.norm(images))


class Contrary(Moded):
    """Falls in train mode where it rises in eval mode."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return -loss if self.norm.training else loss


def test_a_loss_that_rises() -> None:
    diagnosis = examine(Healthy())
    assert diagnosis.statuses["loss"] == "PASS"
    numbers = [each for each in told(diagnosis, "loss").replace(";", "").split()]
    clean, attacked = float(numbers[0]), float(numbers[5])
    assert attacked > clean


def test_a_gradient_that_is_not_that_of_the_loss() -> None:
    diagnosis = examine(Backwards())
    assert blamed(diagnosis) == {"loss": "FAIL"}
    assert "not even with one small step along the gradient" in told(diagnosis, "loss")


def test_a_loss_that_is_too_rough_for_the_attack() -> None:
    attack = PGD(ThreatModel(eps=8 / 255), steps=1, step_size=8 / 255)
    diagnosis = examine(Rough(), None, attack)
    assert blamed(diagnosis) == {"loss": "WARN"}
    assert "but it does with one small step" in told(diagnosis, "loss")


def test_a_mode_in_which_it_does_not_rise() -> None:
    callback = AdversarialTraining(healthy.ATTACK, bn_mode="eval")
    diagnosis = examine(OnlyInBatches(), None, callback)
    assert blamed(diagnosis) == {"loss": "WARN"}
    assert "Under bn_mode='batch' it does, from " in told(diagnosis, "loss")
    assert blamed(examine(OnlyInBatches())) == {}


def test_a_loss_that_does_not_rise_as_it_is_trained_on() -> None:
    callback = AdversarialTraining(healthy.ATTACK, bn_mode="eval")
    diagnosis = examine(Contrary(), None, callback)
    assert blamed(diagnosis) == {"loss": "WARN"}
    assert "where it does not rise" in told(diagnosis, "loss")


def test_an_attack_that_takes_too_long_is_shortened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lightly_adv.doctor.probe.ATTACK_SECONDS", 0.0001)
    attack = PGD(ThreatModel(eps=8 / 255), steps=500)
    diagnosis = examine(Healthy(), None, attack)
    assert blamed(diagnosis) == {}
    assert "examined with 1 steps only" in told(diagnosis, "loss")
