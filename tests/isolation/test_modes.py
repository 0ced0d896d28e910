from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from timm.layers.drop import DropBlock2d
from timm.layers.drop import DropPath as TimmDropPath
from timm.layers.evo_norm import EvoNorm2dB0
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.patch_dropout import PatchDropout
from torch import Tensor, nn

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


class DropPath(nn.Module):
    """As hundreds of projects have copied it."""

    def __init__(self, drop_prob: float = 0.1) -> None:
        super().__init__()
        self.drop_prob = drop_prob


class DropoutNet(nn.Sequential):
    """A network, not a layer, whatever its name."""


class RunningNorm(nn.Module):
    """Somebody's own BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_var", torch.ones(3))


NOISE = [
    nn.Dropout(),
    nn.Dropout2d(),
    nn.AlphaDropout(),
    nn.RReLU(),
    nn.MultiheadAttention(4, 2, dropout=0.1),
    nn.LSTM(4, 4, num_layers=2, dropout=0.1),
    TimmDropPath(0.1),
    DropBlock2d(0.1),
    torchvision.ops.StochasticDepth(0.1, "row"),
    torchvision.ops.DropBlock2d(0.1, 3),
    DropPath(),
]
STATISTICS = [
    nn.BatchNorm2d(3),
    nn.SyncBatchNorm(3),
    nn.InstanceNorm2d(3, track_running_stats=True),
    BatchNormAct2d(3),
    EvoNorm2dB0(3),
    RunningNorm(),
]
OTHERS = [
    nn.Sequential(nn.Linear(2, 2)),
    DropoutNet(nn.Linear(2, 2)),
    nn.TransformerEncoderLayer(4, 2),
    PatchDropout(0.5),
    nn.Linear(2, 2),
    nn.Module(),
]


@pytest.mark.parametrize(
    ("kinds", "switched"),
    [(NOISE, {"eval", "batch"}), (STATISTICS, {"eval"}), (OTHERS, set())],
)
def test_an_attack_switches_layers_of_noise_and_statistics_alone(
    kinds: list[nn.Module], switched: set[str]
) -> None:
    modes_: list[Any] = ["eval", "batch", "train"]
    for mode in modes_:
        for layer in kinds:
            layer.train()
            modes.set_attack_mode(nn.Sequential(layer), mode)
            assert layer.training == (mode not in switched), (mode, layer)


def test_an_attack_sees_the_branch_that_is_trained() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"masked": 0 * x, "x": x} if self.training else {"x": x}

    module = nn.Sequential(nn.Dropout(), Masked())
    each: list[Any] = ["eval", "batch"]
    for mode in each:
        modes.set_attack_mode(module, mode)
        assert "masked" in module(torch.ones(2))


@pytest.mark.parametrize("bn_mode", ["eval", "batch", "train"])
def test_attack_mode_puts_flags_and_buffers_back(bn_mode: Any) -> None:
    norm = nn.InstanceNorm2d(3, track_running_stats=True)
    module = nn.Sequential(mixed(), nn.BatchNorm1d(3), nn.Unflatten(1, (3, 1, 1)))
    tied = module[1]
    module.append(norm).append(nn.Flatten()).append(tied)
    before, buffers = flags(module), dict(module.named_buffers())
    values = {name: value.clone() for name, value in buffers.items()}

    def fail() -> None:
        module[:2](torch.rand(4, 3) + 3)
        norm(torch.rand(4, 3, 2, 2) + 3)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), modes.attack_mode(module, bn_mode):
        fail()
    assert flags(module) == before
    for name, buffer in module.named_buffers():
        assert buffer is buffers[name], name
        assert torch.equal(buffer, values[name]), name


def test_attack_mode_normalises_with_the_batch() -> None:
    norm, images = nn.BatchNorm2d(3), 2 + torch.rand(4, 3, 2, 2)
    expected = norm(images)
    norm.reset_running_stats()
    with modes.attack_mode(norm):
        found = norm(images)
        assert torch.equal(norm(images), found)
    assert torch.equal(found, expected)
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 0


def test_a_graph_from_before_an_attack_can_be_differentiated() -> None:
    norm = nn.BatchNorm2d(3)
    images = torch.rand(4, 3, 2, 2, requires_grad=True)
    before = norm(images).square().sum()
    with modes.attack_mode(norm):
        norm(images)
    (before + norm(images).sum()).backward()
    assert images.grad is not None
