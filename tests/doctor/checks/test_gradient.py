from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from tests import zoo
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Detached(Healthy):
    """As Lightly's `LinearClassifier`."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.backbone(images)
        logits: Tensor = self.fc(features)
        return logits


class Flat(Healthy):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.clamp(2, 3))


class Cropped(Healthy):
    """Sees a corner of every image, and nothing of the last two."""

    def forward(self, images: Tensor) -> Tensor:
        images = images.masked_fill(torch.arange(8)[:, None, None, None] > 5, 0.0)
        return super().forward(images[..., :7, :7])


def test_a_gradient_that_arrives_nowhere() -> None:
    diagnosis = examine(Detached())
    assert blamed(diagnosis) == {"gradient": "FAIL"}
    assert "it ends in the submodule 'backbone'" in told(diagnosis, "gradient")
    assert {"loss", "cost"} <= set(diagnosis.skipped)


def test_a_flat_loss() -> None:
    diagnosis = examine(Flat())
    assert blamed(diagnosis) == {"gradient": "FAIL"}
    assert "100 % of it are zeros" in told(diagnosis, "gradient")


def test_a_gradient_with_holes() -> None:
    diagnosis = examine(Cropped())
    assert blamed(diagnosis) == {"gradient": "WARN"}
    assert "25 % of the images receive none" in told(diagnosis, "gradient")


def test_views_without_gradient_are_named() -> None:
    diagnosis = examine(zoo.Momentum(), zoo.batches(steps=1))
    assert diagnosis.statuses["gradient"] == "PASS"
    text = told(diagnosis, "gradient")
    assert text.startswith("it reaches view 0;")
    assert "it does not reach view 1, which stays clean." in text


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


class Faint(Healthy):
    """Loses most of its gradient where numbers are coarse."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        images = batch[0]
        coarse = torch.is_autocast_enabled("cpu")
        kept = (
            torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) < 0.5
        )
        images = torch.where(kept | (not coarse), images, images.detach())
        return super().training_step([images, batch[1]], batch_idx)


def test_32_bits_pass() -> None:
    text = told(examine(Healthy()), "precision")
    assert text.startswith("32-true, parameters in float32.")


def test_mixed_precision_is_compared_with_32_bits() -> None:
    diagnosis = examine(Healthy(), precision="bf16-mixed")
    assert blamed(diagnosis) == {}
    text = told(diagnosis, "precision")
    assert text.startswith("bf16-mixed, parameters in float32; ")
    diagnosis = examine(Faint(), precision="bf16-mixed")
    assert blamed(diagnosis) == {"precision": "WARN"}
    assert "of the gradient entries underflow to 0" in told(diagnosis, "precision")


def test_what_the_trainer_changes_is_told() -> None:
    text = told(examine(Healthy(), precision="16-mixed"), "precision")
    assert "the Trainer made bf16-mixed of 16-mixed on this device" in text


def test_parameters_in_16_bits_are_a_warning() -> None:
    diagnosis = examine(Healthy(), precision="bf16-true")
    assert diagnosis.statuses["precision"] == "WARN"
    assert "parameters in bfloat16" in told(diagnosis, "precision")
