from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.doctor.checks.backbone import backbone
from lightly_adv.models import Normalize, create_backbone
from tests.doctor import healthy
from tests.doctor.healthy import CIFAR10, IMAGENET, Healthy, blamed, examine, told

ONE = [backbone]


class Inside(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Normalize(IMAGENET)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.norm(images))


class Timm(Healthy):
    """A backbone whose configuration says ImageNet's normalisation."""

    def __init__(self, *, trained: bool, inside: bool = False) -> None:
        super().__init__()
        net: Any = create_backbone("resnet8_tiny")
        if trained:
            with torch.no_grad():
                _first_norm(net).weight.uniform_(0.5, 1.5)
        first = Normalize(IMAGENET) if inside else nn.Identity()
        self.backbone = nn.Sequential(first, net)
        self.fc = nn.Linear(net.num_features, 4)


def _first_norm(module: nn.Module) -> nn.BatchNorm2d:
    return next(each for each in module.modules() if isinstance(each, nn.BatchNorm2d))


def test_a_layer_that_normalises_is_no_mistake() -> None:
    assert blamed(examine(Inside())) == {}


def test_a_layer_that_normalises_once_more_is() -> None:
    data, attack = healthy.batch(IMAGENET), healthy.attack(IMAGENET)
    diagnosis = examine(Inside(), data, attack)
    assert blamed(diagnosis) == {"backbone": "FAIL"}
    assert "the module normalises them once more ('norm')" in told(
        diagnosis, "backbone"
    )


def test_the_configuration_of_a_trained_backbone_counts() -> None:
    for normalize, status in ((IMAGENET, "PASS"), (CIFAR10, "WARN"), (None, "WARN")):
        attack = healthy.attack(normalize)
        module = Timm(trained=True)
        diagnosis = examine(module, healthy.batch(normalize), attack, checks=ONE)
        assert diagnosis.statuses["backbone"] == status, normalize
    assert "backbone.1 gets plain pixels, but its configuration says mean (0.485," in (
        told(diagnosis, "backbone")
    )


def test_that_of_a_fresh_one_does_not() -> None:
    diagnosis = examine(Timm(trained=False), checks=ONE)
    assert diagnosis.statuses["backbone"] == "PASS"
    assert "not trained yet" in told(diagnosis, "backbone")


def test_a_layer_inside_counts_for_the_configuration() -> None:
    diagnosis = examine(Timm(trained=True, inside=True), checks=ONE)
    assert diagnosis.statuses["backbone"] == "PASS"
