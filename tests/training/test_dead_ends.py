from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.training.dead_ends import dead_end


class Augment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flip = nn.Identity()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        flipped: Tensor = self.flip(images).flip(-1)
        return flipped


class Detached(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.detach()


def network(first: nn.Module) -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    return nn.ModuleDict({"first": first, "head": head})


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (Augment(), "first"),
        (Detached(), "first"),
        (nn.Sequential(nn.Identity(), Augment()), "first.1"),
    ],
)
def test_the_submodule_that_lets_no_gradient_through(
    first: nn.Module, name: str
) -> None:
    module = network(first)

    def loss(views: Sequence[Tensor]) -> Tensor:
        out: Tensor = module["head"](module["first"](views[0])).sum()  # type: ignore[index]
        return out

    assert dead_end(loss, [torch.rand(1, 3, 2, 2)], module) == name


def test_what_ends_outside_of_modules_has_no_name() -> None:
    module = network(nn.Identity())

    def loss(views: Sequence[Tensor]) -> Tensor:
        out: Tensor = module["head"](views[0].detach()).sum()  # type: ignore[index]
        return out

    assert dead_end(loss, [torch.rand(1, 3, 2, 2)], module) is None
    assert all(not part._forward_hooks for part in module.modules())
