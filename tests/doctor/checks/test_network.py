from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from lightly_adv import AdversarialTraining
from lightly_adv.doctor.checks.network import backbone, batch_norm
from lightly_adv.models import Normalize, create_backbone
from tests.doctor import healthy
from tests.doctor.healthy import CIFAR10, IMAGENET, Healthy, blamed, examine, told

BACKBONE = [backbone]


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
        diagnosis = examine(module, healthy.batch(normalize), attack, checks=BACKBONE)
        assert diagnosis.statuses["backbone"] == status, normalize
    assert "backbone.1 gets plain pixels, but its configuration says mean (0.485," in (
        told(diagnosis, "backbone")
    )


def test_that_of_a_fresh_one_does_not() -> None:
    diagnosis = examine(Timm(trained=False), checks=BACKBONE)
    assert diagnosis.statuses["backbone"] == "PASS"
    assert "not trained yet" in told(diagnosis, "backbone")


def test_a_layer_inside_counts_for_the_configuration() -> None:
    diagnosis = examine(Timm(trained=True, inside=True), checks=BACKBONE)
    assert diagnosis.statuses["backbone"] == "PASS"


BATCH_NORM = [batch_norm]


class Normed(Healthy):
    """Has a BatchNorm layer, with statistics of some batches unless it is fresh."""

    def __init__(self, kind: type[nn.BatchNorm2d] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = kind(8)
        self.backbone[1] = self.norm
        with torch.no_grad():
            self.backbone[0](healthy.images())
            for _ in range(20):
                self.norm(self.backbone[0](healthy.images()))


def test_statistics_of_batches_pass() -> None:
    diagnosis = examine(Normed())
    assert blamed(diagnosis) == {}
    assert "1 of 1 layer in train mode; bn_mode='batch'" in told(
        diagnosis, "batch norm"
    )
    assert "there are no BatchNorm layers" in told(examine(Healthy()), "batch norm")


def test_fresh_statistics_are_a_warning_where_they_are_used() -> None:
    module = Normed()
    module.norm.reset_running_stats()
    callback = AdversarialTraining(healthy.ATTACK, bn_mode="eval")
    diagnosis = examine(module, None, callback, checks=BATCH_NORM)
    assert blamed(diagnosis) == {"batch norm": "WARN"}
    text = told(diagnosis, "batch norm")
    assert "The running statistics of 1 layer have seen no batch" in text
    assert "bn_mode='batch'" in text
    assert blamed(examine(module, checks=BATCH_NORM)) == {}
    module.norm.eval()
    diagnosis = examine(module, checks=BATCH_NORM)
    assert blamed(diagnosis) == {"batch norm": "WARN"}
    assert "put these layers into train mode" in told(diagnosis, "batch norm")


def test_small_batches_are_a_warning_in_train_mode() -> None:
    module, data = Normed(), healthy.batch(count=4)
    diagnosis = examine(module, data)
    assert blamed(diagnosis) == {"batch norm": "WARN"}
    assert "A batch of 4 images" in told(diagnosis, "batch norm")
    module.norm.eval()
    assert blamed(examine(module, data)) == {}


def test_broken_statistics() -> None:
    module = Normed()
    assert module.norm.running_var is not None
    module.norm.running_var[0] = float("inf")
    text = told(examine(module, checks=BATCH_NORM), "batch norm")
    assert "The running statistics of 1 layer are not finite" in text


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
@pytest.mark.parametrize("sync", [True, False])
def test_synchronising_drops_the_activation_of_timm(
    kind: type[nn.BatchNorm2d], sync: bool
) -> None:
    diagnosis = examine(Normed(kind), sync_batchnorm=sync)
    lost = sync and kind is BatchNormAct2d
    assert blamed(diagnosis) == ({"batch norm": "WARN"} if lost else {})
    assert (
        "timm.layers.convert_sync_batchnorm" in told(diagnosis, "batch norm")
    ) == lost
