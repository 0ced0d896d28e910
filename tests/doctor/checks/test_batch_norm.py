from __future__ import annotations

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from lightly_adv import AdversarialTraining
from lightly_adv.doctor.checks.batch_norm import batch_norm
from tests.doctor import healthy
from tests.doctor.healthy import Healthy, blamed, examine, told

ONE = [batch_norm]


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
    diagnosis = examine(module, None, callback, checks=ONE)
    assert blamed(diagnosis) == {"batch norm": "WARN"}
    text = told(diagnosis, "batch norm")
    assert "The running statistics of 1 layer have seen no batch" in text
    assert "bn_mode='batch'" in text
    assert blamed(examine(module, checks=ONE)) == {}
    module.norm.eval()
    diagnosis = examine(module, checks=ONE)
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
    text = told(examine(module, checks=ONE), "batch norm")
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
