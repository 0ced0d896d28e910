from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv import AdversarialTraining
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told


class Flip(nn.Module):
    """A random augmentation that lets no gradient through, as those of kornia."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        flipped = torch.rand(len(images)) < 0.5
        return torch.where(flipped[:, None, None, None], images.flip(-1), images)


class Twice(Flip):
    """Puts out two views in one tensor."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([super().forward(images), super().forward(images)])


class Augmenting(Healthy):
    """Augments a dict in its step, as torchgeo's modules do."""

    def __init__(self, augment: nn.Module, classes: int = 4) -> None:
        super().__init__(classes)
        self.augment = augment

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        views = self.augment(batch["image"])
        labels = batch["label"].repeat(len(views) // len(batch["label"]))
        return F.cross_entropy(self(views), labels)


def batch(count: int = 8) -> dict[str, Tensor]:
    images, labels = healthy.batch(count=count)
    return {"image": images, "label": labels}


def test_views_that_a_submodule_makes_are_attacked() -> None:
    callback = AdversarialTraining(healthy.ATTACK, views="augment")
    diagnosis = examine(Augmenting(Flip()), batch(), callback)
    assert blamed(diagnosis) == {}
    assert not diagnosis.skipped
    assert diagnosis.statuses["gradient"] == "PASS"
    assert "augment put out view 0 of 8 x 3 x 16 x 16" in told(diagnosis, "data")


def test_without_its_name_the_gradient_ends_there() -> None:
    callback = AdversarialTraining(healthy.ATTACK)
    diagnosis = examine(Augmenting(Flip()), batch(), callback)
    assert blamed(diagnosis) == {"gradient": "FAIL"}
    text = told(diagnosis, "gradient")
    assert "views='augment'" in text
    assert "let the gradient through" in text


def test_labels_that_do_not_fit_are_told_once() -> None:
    callback = AdversarialTraining(healthy.ATTACK, views=["augment"])
    diagnosis = examine(Augmenting(Flip(), classes=2), batch(), callback)
    assert blamed(diagnosis) == {"labels": "FAIL"}
    assert "span [0, 3]" in told(diagnosis, "labels")


def test_a_name_that_is_none() -> None:
    callback = AdversarialTraining(healthy.ATTACK, views="agument")
    diagnosis = examine(Augmenting(Flip()), batch(), callback)
    assert not diagnosis.ok
    assert "'agument' names no submodule" in str(diagnosis).replace("\n", " ")


def test_batches_of_which_more_views_are_made_are_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lightly_adv.doctor.first_batch.STEP_SECONDS", 1e-6)
    callback = AdversarialTraining(healthy.ATTACK, views="augment")
    diagnosis = examine(Augmenting(Twice()), batch(count=16), callback)
    assert blamed(diagnosis) == {}
    assert "augment put out view 0 of 32 x 3 x 16 x 16" in told(diagnosis, "data")
    assert "the first of" not in told(diagnosis, "data")
