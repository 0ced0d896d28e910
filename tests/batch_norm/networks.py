"""Small networks with BatchNorm of every kind, and helpers to look into them."""

from __future__ import annotations

import copy
import functools
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from lightly_adv.batch_norm import routes
from lightly_adv.batch_norm.dual_layers import DualBatchNorm
from lightly_adv.models import stems as stems  # registers the *_small names

ROUTES = ("clean", "adv")


@functools.cache
def created(name: str) -> nn.Module:
    """Draw a network once: most of the time goes into its random weights."""
    if name == "torchvision":
        network: nn.Module = torchvision.models.resnet18(num_classes=3)
    else:
        network = timm.create_model(name, num_classes=3)
    return network


def resnet() -> nn.Module:
    return copy.deepcopy(created("resnet18"))


def resnetv2() -> nn.Module:
    """All of its norms are BatchNormAct2d."""
    return copy.deepcopy(created("resnetv2_18_small"))


def efficientnet() -> nn.Module:
    """Its BatchNormAct2d apply SiLU, drop or nothing."""
    return copy.deepcopy(created("test_efficientnet"))


def from_torchvision() -> nn.Module:
    return copy.deepcopy(created("torchvision"))


class Shared(nn.Module):
    """One layer under two names, and two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm1d(4)
        self.again = self.first
        self.tied = nn.BatchNorm1d(4)
        self.tied.weight = self.first.weight

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.tied(self.again(self.first(features) * 2))
        return output


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(3 * 32 * 32, 4),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        Shared(),
        nn.BatchNorm1d(4, affine=False),
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.BatchNorm1d(4, momentum=None),
        nn.Linear(4, 3),
    )


NETWORKS = [resnet, resnetv2, efficientnet, from_torchvision, mlp]


def scrambled(module: nn.Module) -> nn.Module:
    """Move parameters and statistics away from where they start."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(tensor + 0.2 * noise)
    return module


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def dual_layers(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, DualBatchNorm)]


def stats(module: nn.Module, route: str) -> list[Tensor]:
    return [buffer.clone() for buffer in routes.buffers_of(module, route)]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(map(torch.equal, first, second))
