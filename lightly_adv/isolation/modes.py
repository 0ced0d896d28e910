"""Train/eval flags and `requires_grad`, put back exactly as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

BatchNormMode: TypeAlias = Literal["eval", "batch", "train"]
"""How an attack sees the layers whose mode matters: all of them in eval mode, all but
BatchNorm and its kin, or as they are."""

# Recurrent layers and attention look at their flag for dropout alone.
_DROPOUT = (_DropoutNd, nn.RReLU, nn.MultiheadAttention, nn.RNNBase)

# Of timm, torchvision and others, and of the many copies of them in projects.
_DROPOUT_NAMES = (
    "Dropout",
    "DropPath",
    "DropBlock",
    "DropConnect",
    "StochasticDepth",
)


def set_attack_mode(module: nn.Module, bn_mode: BatchNormMode) -> None:
    """Set the flags of layers for an attack; `isolated` puts them back.

    Only layers whose mode is a matter of noise or of statistics are switched: dropout
    and its kin (DropPath, StochasticDepth, DropBlock, RReLU; also attention and
    recurrent layers of PyTorch, which use their flag for dropout alone), and layers
    that keep running statistics, such as BatchNorm. The flags of the module itself, of
    containers and of all other parts stay. Who looks at `self.training` to choose a
    decoder, a mask or an augmentation takes the branch that is trained; dropout that
    such a part calls as a function stays on, and is replayed like all random numbers.

    Args:
        module: The module under attack.
        bn_mode: "eval" puts all of these layers in eval mode. "batch" leaves those
            with running statistics as they are, so that the ones in train mode
            normalise with the statistics of the batch. "train" changes nothing.

    Examples:
        >>> module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
        >>> set_attack_mode(module, "batch")
        >>> module.training, [layer.training for layer in module]
        (True, [True, False])
    """
    if bn_mode == "train":
        return
    for part in module.modules():
        if _drops(part) or (bn_mode == "eval" and _keeps_statistics(part)):
            part.training = False


@contextmanager
def attack_mode(module: nn.Module, bn_mode: BatchNormMode = "batch") -> Iterator[None]:
    """Show a module to an attack, then have flags and buffers as before.

    For losses of our own, of which nothing but flags and buffers has to be set aside;
    the training step of somebody else is isolated, see `isolated`.

    Args:
        module: The module under attack.
        bn_mode: See `set_attack_mode`.

    Examples:
        >>> norm = nn.BatchNorm1d(2)
        >>> with attack_mode(norm):
        ...     output = norm(torch.rand(8, 2) + 3)
        >>> bool(output.mean().abs() < 1e-5), norm.running_mean
        (True, tensor([0., 0.]))
    """
    parts = [(part, part.training, part._buffers) for part in module.modules()]
    copies = {
        id(buffer): buffer.clone()
        for _, _, buffers in parts
        for buffer in buffers.values()
        if buffer is not None
    }
    try:
        for part, _, buffers in parts:
            # Not copied back in place: a graph may have saved the buffers themselves.
            part.__dict__["_buffers"] = {
                name: None if buffer is None else copies[id(buffer)]
                for name, buffer in buffers.items()
            }
        set_attack_mode(module, bn_mode)
        yield
    finally:
        for part, training, buffers in parts:
            part.training = training
            part.__dict__["_buffers"] = buffers


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule in eval mode, then give each its own flag back.

    `module.train()` would not do: it also wakes up the parts that were in eval mode
    before, such as a frozen backbone. The flags come back after an error, too.

    Args:
        module: The module whose submodules to switch.

    Examples:
        >>> module = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3).eval())
        >>> with evaluation_mode(module):
        ...     [child.training for child in module]
        [False, False]
        >>> [child.training for child in module]
        [True, False]
    """
    # A frozen TorchScript module has no mode: it is in eval mode for good.
    parts = [part for part in module.modules() if hasattr(part, "training")]
    before = [(part, part.training) for part in parts]
    try:
        # Not module.eval(): a module may override train() to do more than this.
        for part, _ in before:
            part.training = False
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def frozen_parameters(module: nn.Module) -> Iterator[None]:
    """Switch `requires_grad` off for every parameter, then give each its own back.

    An attack differentiates with respect to images only; parameters that require no
    gradient save the memory and the time of half a backward pass.

    Args:
        module: The module whose parameters to freeze.

    Examples:
        >>> module = nn.Linear(2, 1)
        >>> module.bias.requires_grad_(False).requires_grad
        False
        >>> with frozen_parameters(module):
        ...     [parameter.requires_grad for parameter in module.parameters()]
        [False, False]
        >>> [parameter.requires_grad for parameter in module.parameters()]
        [True, False]
    """
    trained = [x for x in module.parameters() if x.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad = False
        yield
    finally:
        for parameter in trained:
            # One that was made in inference mode is switched on in that mode only.
            with torch.inference_mode(parameter.is_inference()):
                parameter.requires_grad = True


def _keeps_statistics(part: nn.Module) -> bool:
    """Whether it is BatchNorm, InstanceNorm, or somebody's own of the kind."""
    return isinstance(part, _NormBase) or any(
        name.startswith("running_") for name in part._buffers
    )


def _drops(part: nn.Module) -> bool:
    if isinstance(part, _DROPOUT):
        return True
    names = (kind.__name__ for kind in type(part).__mro__)
    # A network with such a word in its name is none of these layers.
    leaf = not part._modules
    return leaf and any(name.startswith(_DROPOUT_NAMES) for name in names)
