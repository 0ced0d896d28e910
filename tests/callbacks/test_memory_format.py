"""Modules and batches in the memory format `channels_last`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.types import Norm
from tests import zoo
from tests.callbacks.smooth import Smooth, assert_close, train

IDENTITY = PGD(ThreatModel(eps=0.0), steps=2)

pytestmark = pytest.mark.filterwarnings("ignore")


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


class ChannelsLast(Smooth):
    """Moved as PyTorch's tutorial does it, with the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone.to(memory_format=torch.channels_last)
        self.formats: set[bool] = set()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [[channels_last(view) for view in batch[0]], *batch[1:]]

    def forward(self, images: Tensor) -> Tensor:
        first = self.backbone[0]
        assert isinstance(first, nn.Conv2d)
        self.formats |= {is_channels_last(images), is_channels_last(first.weight)}
        return super().forward(images)


@pytest.mark.parametrize(
    ("mode", "bn_mode"), [("replace", "eval"), ("replace", "batch"), ("dual", "eval")]
)
def test_it_trains_as_in_the_other_format(mode: Any, bn_mode: Any) -> None:
    arguments = {"mode": mode, "bn_mode": bn_mode}
    assert_close(train(Smooth, **arguments), train(ChannelsLast, **arguments))


def test_at_eps_zero_training_is_the_same_bit_for_bit() -> None:
    plain = zoo.fit(ChannelsLast, [])
    attacked = zoo.fit(ChannelsLast, [AdversarialTraining(IDENTITY)])
    assert zoo.state(*plain).changes(zoo.state(*attacked)) == []
    # Whatever looks at a view or a weight finds the format, in the attack as well.
    for module, _ in (plain, attacked):
        assert module.formats == {True}


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_perturbed_views_keep_the_format(norm: Norm) -> None:
    view = channels_last(torch.rand(2, 3, 8, 8))
    attack = PGD(ThreatModel(norm=norm, eps=0.1), steps=2)
    (found,) = attack(lambda views: views[0].square().sum(), [view])
    assert not torch.equal(found, view)
    assert is_channels_last(found)


def test_stand_ins_keep_the_format() -> None:
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    for differentiable in (False, True):
        with Isolation(conv, differentiable=differentiable).evaluation():
            assert is_channels_last(conv.weight)
