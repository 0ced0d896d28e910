from __future__ import annotations

import pytest
import torch
from torch import nn

from lightly_adv.doctor.isolated_training import isolated_training


def test_parameters_can_be_trained_inside_and_stay_as_they_were() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 1).requires_grad_(False)
    module = nn.Sequential(first, second)
    weight, before = first.weight, first.weight.detach().clone()
    with isolated_training(module):
        assert [each.requires_grad for each in module.parameters()] == [
            *(True, True),
            *(False, False),
        ]
        optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
        module(torch.ones(3, 2)).sum().backward()
        optimizer.step()
        assert not torch.equal(first.weight, before)
    assert first.weight is weight
    assert torch.equal(weight, before)
    assert weight.grad is None


def test_everything_is_put_back_after_an_error() -> None:
    module = nn.Linear(2, 1)
    weight = module.weight

    def fail() -> None:
        with isolated_training(module):
            module.weight = nn.Parameter(torch.zeros(1, 2))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert module.weight is weight
