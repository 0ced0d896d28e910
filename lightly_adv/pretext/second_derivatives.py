"""What it takes to differentiate a network twice, as gradient diversity does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightly_adv.functional import precision
from lightly_adv.isolation import compiled


def attention_kernels() -> AbstractContextManager[None]:
    """Return a scope in which attention can be differentiated twice.

    The fused kernels of `scaled_dot_product_attention` cannot.
    """
    scope: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return scope


def input_gradients(losses: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return gradients of the sum of losses, up to a common factor, with a graph.

    The factor keeps gradients above zero under fp16 autocast, and is 1 elsewhere.

    Args:
        losses: Scalars.
        inputs: Tensors that require a gradient, and that the losses depend on.
    """
    total = torch.stack(list(losses)).sum() * precision.loss_scale(inputs[0])
    return list(torch.autograd.grad(total, list(inputs), create_graph=True))


def check_twice_differentiable(module: nn.Module) -> None:
    """Refuse a network that is compiled in part.

    Gradient checkpointing, by contrast, works if it is not of the reentrant kind, which
    no attack works with and which PyTorch itself refuses.

    Raises:
        ValueError: If a part of the network is compiled, with its name.
    """
    for name, part in module.named_modules():
        if compiled.is_compiled(part):
            raise ValueError(
                f"{name or type(part).__name__} is compiled, and compiled networks "
                "have no second derivative, but gradient diversity needs one. Use the "
                "plain module, or set the diversity weights to 0."
            )
