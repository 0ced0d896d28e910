from __future__ import annotations

import pytest
import torch
from torch import nn

from lightly_adv.isolation import modes


def mixed() -> nn.Sequential:
    """Modes and gradients switched on here and off there."""
    shared = nn.Linear(3, 3)
    shared.bias.requires_grad_(False)
    module = nn.Sequential(shared, nn.BatchNorm1d(3).eval(), nn.Dropout(), shared)
    module[1].weight.requires_grad_(False)
    return module


def flags(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


def required(module: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in module.parameters()]


def test_evaluation_mode_switches_every_part_and_puts_each_back() -> None:
    module = mixed()
    before = flags(module)
    with modes.evaluation_mode(module):
        assert not any(flags(module))
    assert flags(module) == before == [True, True, False, True]


def test_evaluation_mode_reaches_a_part_that_refuses_to_be_switched() -> None:
    class Stubborn(nn.Module):
        def train(self, mode: bool = True) -> Stubborn:
            del mode
            raise AssertionError("train() must not be called")

    module = Stubborn()
    with modes.evaluation_mode(module):
        assert not module.training
    assert module.training


def test_evaluation_mode_is_undone_after_an_error() -> None:
    module = mixed()
    before = flags(module)
    with pytest.raises(RuntimeError, match="boom"), modes.evaluation_mode(module):
        raise RuntimeError("boom")
    assert flags(module) == before


def test_frozen_parameters_restores_each_after_an_error() -> None:
    module = mixed()
    before = required(module)
    with pytest.raises(RuntimeError, match="boom"), modes.frozen_parameters(module):
        raise RuntimeError("boom")
    assert required(module) == before == [True, False, False, True]


@torch.inference_mode()
def test_both_work_in_inference_mode() -> None:
    with torch.inference_mode(False):
        module = mixed()
    before = required(module)
    with modes.frozen_parameters(module), modes.evaluation_mode(module):
        assert not any(required(module))
    assert required(module) == before
