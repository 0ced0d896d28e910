from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lightly.models.modules import SwaVPrototypes
from lightly.models.utils import activate_requires_grad, deactivate_requires_grad
from torch import Tensor, nn

from lightly_adv import isolated
from lightly_adv.isolation.attached import attached

INPUTS = torch.tensor([[1.0, 2.0, 3.0]])


def frozen(module: nn.Module) -> bool:
    return not any(each.requires_grad for each in module.parameters())


def grad(module: nn.Linear) -> Any:
    return module.weight.grad


def gradient(module: nn.Linear) -> Any:
    """Gradient of a loss that was computed by an isolated stream."""
    with isolated(module, differentiable=True):
        loss = module(INPUTS).sum()
    loss.backward()
    return module.weight.grad


def test_gradients_arrive_at_the_parameter() -> None:
    module = nn.Linear(3, 2)
    assert torch.equal(gradient(module), INPUTS.expand(2, 3))


def test_it_looks_like_a_parameter_and_gives_plain_tensors() -> None:
    module = nn.Linear(3, 2)
    with isolated(module, differentiable=True):
        assert isinstance(module.weight, nn.Parameter)
        assert len(list(module.parameters())) == 2
        assert module.weight.requires_grad
        assert type(module.weight * 2) is Tensor
        assert type(module.weight.detach()) is Tensor


@pytest.mark.parametrize("by_attribute", [False, True])
def test_it_can_be_frozen_and_the_parameter_is_not(by_attribute: bool) -> None:
    module = nn.Linear(3, 2)
    with isolated(module, differentiable=True):
        if by_attribute:
            deactivate_requires_grad(module)
        else:
            module.requires_grad_(False)
        assert frozen(module)
        assert not module(INPUTS).requires_grad
        module.requires_grad_(True)
        loss = module(INPUTS).sum()
    assert not frozen(module)
    loss.backward()
    assert torch.equal(grad(module), INPUTS.expand(2, 3))


@pytest.mark.parametrize("by_attribute", [False, True])
@pytest.mark.parametrize("outside", [False, True])
def test_it_can_be_thawed_with_the_value_that_it_has(
    by_attribute: bool, outside: bool
) -> None:
    module = nn.Linear(3, 2, bias=False).requires_grad_(False)
    with isolated(module, differentiable=True):
        with torch.no_grad():
            module.weight.div_(module.weight.norm(dim=1, keepdim=True))
            before = module.weight.clone()
            if by_attribute:
                activate_requires_grad(module)
            else:
                module.requires_grad_(True)
        assert torch.equal(module.weight, before)
        assert not frozen(module)
        loss = module(INPUTS).sum()
    assert frozen(module)
    # The clean stream thaws the parameter itself; else it gets no gradient.
    module.requires_grad_(outside)
    loss.backward()
    assert (grad(module) is not None) == outside
    assert not outside or torch.equal(grad(module), INPUTS.expand(2, 3))


def test_what_was_computed_before_freezing_keeps_its_gradient() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))

    def step() -> Tensor:
        loss = module(INPUTS).sum()
        module.requires_grad_(False)
        assert not module(INPUTS).requires_grad
        module.requires_grad_(True)
        value: Tensor = loss + module(2 * INPUTS).square().sum()
        return value

    expected = torch.autograd.grad(step(), list(module.parameters()))
    with isolated(module, differentiable=True):
        loss = step()
    found = torch.autograd.grad(loss, list(module.parameters()))
    assert all(map(torch.equal, found, expected))


def test_streams_add_up_while_prototypes_are_frozen_and_thawed() -> None:
    prototypes = SwaVPrototypes(3, 2, n_steps_frozen_prototypes=1)
    head: Any = prototypes.heads[0]

    def loss(step: int) -> Tensor:
        prototypes.normalize()
        value: Tensor = prototypes(INPUTS, step).sum()
        return value

    for step in range(3):
        head.zero_grad()
        with isolated(prototypes, differentiable=True):
            second = loss(step)
        total: Any = loss(step) + second
        assert total.requires_grad == (step > 0)
        if step > 0:
            total.backward()
            assert torch.equal(head.weight.grad, 2 * INPUTS.expand(2, 3))


def test_deep_copies_are_parameters_of_their_own() -> None:
    trained, fixed = nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False)
    module: Any = nn.Sequential(trained, fixed.requires_grad_(False))
    module.tied = trained.weight
    with isolated(module, differentiable=True):
        twin = copy.deepcopy(module)
        assert twin.tied is twin[0].weight
        assert type(twin[0].weight) is nn.Parameter
        assert [each.requires_grad for each in twin.parameters()] == [True, False]
        twin.requires_grad_(False)
        with torch.no_grad():
            twin[0].weight.zero_()
        assert module[0].weight.abs().sum() > 0


def test_streams_nest() -> None:
    module = nn.Linear(3, 2, bias=False)
    with isolated(module, differentiable=True):
        with isolated(module, differentiable=True):
            loss = module(INPUTS).sum()
        with isolated(module):
            assert not module.weight.requires_grad
        loss = loss + module(INPUTS).sum()
    loss.backward()
    assert torch.equal(grad(module), 2 * INPUTS.expand(2, 3))


def test_second_derivatives_pass() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    (first,) = torch.autograd.grad(attached(weight) ** 3, weight, create_graph=True)
    (second,) = torch.autograd.grad(first, weight)
    assert float(second) == 12
