from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import checkpoint as library
from torch.utils.checkpoint import checkpoint

from lightly_adv.isolation.isolated import isolated
from lightly_adv.isolation.recomputation import (
    recomputed_as_it_stands,
    recomputed_in,
)


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())


IMAGES = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_called_again_runs_inside_of_the_scope(reentrant: bool) -> None:
    inside: list[bool] = []
    now = False

    @contextmanager
    def scope() -> Iterator[None]:
        nonlocal now
        now = True
        try:
            yield
        finally:
            now = False

    def function(x: Tensor) -> Tensor:
        inside.append(now)
        return x.sin().cos()

    x = torch.rand(3, requires_grad=True)
    with recomputed_in(scope):
        y = checkpoint(function, x, use_reentrant=reentrant)
    (found,) = torch.autograd.grad(y.sum(), x)
    (expected,) = torch.autograd.grad(x.sin().cos().sum(), x)
    assert torch.equal(found, expected)
    assert inside == [False, True]
    assert not now


def test_pytorch_is_as_it_was() -> None:
    before = dict(vars(library))
    with pytest.raises(ZeroDivisionError), recomputed_in(nullcontext):
        raise ZeroDivisionError
    assert dict(vars(library)) == before


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_stream_whose_isolation_is_over_moves_no_statistics(reentrant: bool) -> None:
    module, again = normed(), normed()
    with (
        isolated(module, differentiable=True),
        recomputed_as_it_stands(module, nullcontext),
    ):
        images = IMAGES.clone().requires_grad_()
        loss = checkpoint(module, images, use_reentrant=reentrant).square().sum()
        inside = module[1].running_mean
    state = dict(vars(module[1])), list(module.parameters())
    loss.backward()
    assert (dict(vars(module[1])), list(module.parameters())) == state
    expected = again(IMAGES).square().sum()
    expected.backward()
    for found, wanted in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(_grad(found), _grad(wanted))
    assert torch.equal(module[1].running_mean, torch.zeros(3))  # type: ignore[arg-type]
    assert inside is not module[1].running_mean


def _grad(parameter: Any) -> Tensor:
    grad: Tensor = parameter.grad
    return grad
