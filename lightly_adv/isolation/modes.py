"""Train/eval flags and `requires_grad`, put back exactly as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNormMode: TypeAlias = Literal["eval", "batch", "train"]
"""How an attack sees a module: all in eval mode, all but BatchNorm, or as it is."""


def set_attack_mode(module: nn.Module, bn_mode: BatchNormMode) -> None:
    """Set the flags of every submodule for an attack; `isolated` puts them back.

    Args:
        module: The module under attack.
        bn_mode: "eval" puts every submodule in eval mode. "batch" does so too, but
            BatchNorm layers keep their flag, so that those in train mode normalise
            with the statistics of the batch. "train" changes nothing.
    """
    if bn_mode == "train":
        return
    for part in module.modules():
        if not (bn_mode == "batch" and isinstance(part, _BatchNorm)):
            part.training = False


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
    before = [(part, part.training) for part in module.modules()]
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

    An attack differentiates with respect to pictures only; parameters that require no
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
    before = [(each, each.requires_grad) for each in module.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad = False
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad = required
