from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightly_adv.attacks import ClassificationObjective
from lightly_adv.attacks.classification import TargetedObjective, require
from lightly_adv.functional import losses

MODEL = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
IMAGES = torch.rand(4, 3, 2, 2)
LABELS = torch.tensor([0, 3, 1, 4])


def test_it_is_the_cross_entropy_of_every_image() -> None:
    objective = ClassificationObjective(MODEL, LABELS)
    expected = functional.cross_entropy(MODEL(IMAGES), LABELS, reduction="none")
    assert torch.equal(objective([IMAGES]), expected)
    assert torch.equal(objective.logits([IMAGES]), MODEL(IMAGES))


@pytest.mark.parametrize(
    "index", [torch.tensor([2, 0]), torch.tensor([True, False, True, False])]
)
def test_rows_take_labels_and_targets_along(index: torch.Tensor) -> None:
    plain = ClassificationObjective(MODEL, LABELS)
    aimed = TargetedObjective(MODEL, LABELS, targets=torch.tensor([1, 2, 3, 0]))
    for objective in (plain, aimed):
        some = objective.subset(index)
        assert type(some) is type(objective)
        whole = objective([IMAGES])
        torch.testing.assert_close(some([IMAGES[index]]), whole[index])


def test_a_target_is_raised_by_the_ratio() -> None:
    targets = torch.tensor([1, 2, 3, 0])
    objective = TargetedObjective(MODEL, LABELS, targets)
    expected = losses.targeted_dlr(MODEL(IMAGES), LABELS, targets)
    assert torch.equal(objective([IMAGES]), expected)


def test_labels_of_inference_mode_do() -> None:
    with torch.inference_mode():
        labels = LABELS.clone()
    images = IMAGES.clone().requires_grad_()
    loss = ClassificationObjective(MODEL, labels)([images]).sum()
    (grad,) = torch.autograd.grad(loss, images)
    assert grad.abs().sum() > 0


def test_anything_else_is_refused() -> None:
    objective = ClassificationObjective(MODEL, LABELS)
    assert require(objective, attack="Aim") is objective
    with pytest.raises(
        TypeError, match=r"Aim was given a Sequential.*expected a Class"
    ):
        require(MODEL, attack="Aim")
