from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightly_adv.pretext import second_derivatives


def small() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model("resnet8_tiny", num_classes=0)
    return network.double()


def checkpointed(network: nn.Module, *, reentrant: bool) -> nn.Module:
    layer = network.get_submodule("layer2")
    plain = layer.forward
    layer.forward = lambda x: checkpoint(plain, x, use_reentrant=reentrant)
    return network


def through_timm(network: nn.Module) -> nn.Module:
    network.set_grad_checkpointing(True)  # type: ignore[operator]
    return network


def twice(network: nn.Module) -> list[Tensor]:
    """The derivatives of a function of the input gradient, by inputs and weights."""
    images = torch.linspace(0, 1, 2 * 3 * 16 * 16).double().view(2, 3, 16, 16)
    images.requires_grad_()
    loss = network(images).square().mean()
    (grad,) = second_derivatives.input_gradients([loss], [images])
    wanted = [images, *network.parameters()]
    return list(torch.autograd.grad((grad / grad.norm()).pow(4).sum(), wanted))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "change", [lambda n: checkpointed(n, reentrant=False), through_timm]
)
def test_checkpointing_that_is_not_reentrant_is_right(
    change: Callable[[nn.Module], nn.Module], training: bool
) -> None:
    network = change(small().train(training))
    second_derivatives.check_twice_differentiable(network)
    expected = twice(small().train(training))
    for found, value in zip(twice(network), expected, strict=True):
        torch.testing.assert_close(found, value)


def test_pytorch_refuses_the_reentrant_kind() -> None:
    with pytest.raises(RuntimeError, match="use_reentrant=True"):
        twice(checkpointed(small(), reentrant=True))


def wrapped(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="aot_eager")  # type: ignore[return-value]


def in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="aot_eager")
    return network


def in_part(network: nn.Module) -> nn.Module:
    network.get_submodule("layer2").compile(backend="aot_eager")
    return network


@pytest.mark.parametrize(
    ("change", "name"),
    [(wrapped, "OptimizedModule"), (in_place, "SmallStemResNet"), (in_part, "layer2")],
)
def test_compiled_networks_are_refused(
    change: Callable[[nn.Module], nn.Module], name: str
) -> None:
    second_derivatives.check_twice_differentiable(small())
    with pytest.raises(ValueError, match=f"{name} is compiled.*diversity weights to 0"):
        second_derivatives.check_twice_differentiable(change(small()))


def test_attention_has_second_derivatives_in_the_scope() -> None:
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=16, depth=1, embed_dim=12
    ).double()
    with second_derivatives.attention_kernels():
        first = twice(network)
    assert all(each.isfinite().all() for each in first)
    assert any(each.any() for each in first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_gradients_survive_half_precision(dtype: torch.dtype) -> None:
    layer = nn.Linear(8, 8)
    inputs = torch.rand(2, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        loss = (layer(inputs) * 1e-8).sum()
        (found,) = second_derivatives.input_gradients([loss], [inputs])
    scale = 2**12 if dtype == torch.float16 else 1
    expected = 1e-8 * scale * layer.weight.sum(dim=0).expand(2, -1)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=1e-9 * scale)


def test_without_autocast_gradients_are_those_of_the_sum() -> None:
    one, two = (torch.rand(2, 3, requires_grad=True) for _ in range(2))
    losses = [one.square().sum(), two.pow(3).sum()]
    found = second_derivatives.input_gradients(losses, [one, two])
    torch.testing.assert_close(found, [2 * one, 3 * two.square()])
    assert all(each.requires_grad for each in found)
