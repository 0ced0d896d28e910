"""Where on its way through a module the gradient of the views ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import gradients
from lightly_adv.types import Objective


@dataclass
class _Call:
    name: str
    graded: bool
    """Whether gradients were recorded when it began."""

    entered: bool
    """Whether an input required a gradient."""

    left: bool = True
    """Whether an output required one, as far as it can."""


def dead_end(
    objective: Objective, views: Sequence[Tensor], module: nn.Module
) -> str | None:
    """Return the name of the submodule in which the gradient of the views ends.

    Args:
        objective: Maps views to a loss, through the module.
        views: What no gradient reaches.
        module: The module to look at.

    Returns:
        The name of the outermost submodule that runs without recording gradients, or of
        the innermost one that lets none through; None where it is not in one.

    Examples:
        >>> module = nn.Sequential(nn.Identity(), nn.Linear(2, 1))
        >>> def loss(views):
        ...     with torch.no_grad():
        ...         return module(views[0]).sum()
        >>> dead_end(loss, [torch.zeros(1, 2)], nn.ModuleDict({"net": module}))
        'net'
    """
    calls: list[_Call] = []
    leaves = [view.detach().clone().requires_grad_() for view in views]
    with (
        torch.enable_grad(),
        gradients.scope(objective) as function,
        _watched(module, calls),
    ):
        function(leaves)
    ends = [call for call in calls if call.name and call.entered and not call.left]
    graded = [call for call in ends if call.graded]
    if graded:
        first = graded[0].name
        inside = [call for call in graded if call.name.startswith(first)]
        return inside[-1].name
    return ends[0].name if ends else None


@contextmanager
def _watched(module: nn.Module, calls: list[_Call]) -> Iterator[None]:
    handles = []
    for name, part in module.named_modules():
        before, after = _hooks(name, calls)
        handles.append(part.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(part.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hooks(
    name: str, calls: list[_Call]
) -> tuple[Callable[..., None], Callable[..., None]]:
    open_: list[_Call] = []

    def before(part: nn.Module, inputs: Any, named: Any) -> None:
        entered = any(each.requires_grad for each in _tensors([inputs, named]))
        open_.append(_Call(name, torch.is_grad_enabled(), entered))
        calls.append(open_[-1])

    def after(part: nn.Module, inputs: Any, output: Any) -> None:
        found = _tensors(output)
        floating = [each for each in found if each.is_floating_point()]
        open_.pop().left = not floating or any(each.requires_grad for each in floating)

    return before, after


def _tensors(value: Any) -> list[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [each for each in leaves if isinstance(each, Tensor)]
