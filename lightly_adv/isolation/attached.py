"""Copies of parameters that pass gradients on to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter


class Attached(Tensor):
    """A copy of a parameter, attached to it in the graph.

    Training steps freeze, thaw and deep-copy parameters, as those of SwAV and SMoG do.
    Autograd forbids this for tensors inside of a graph; this one behaves as the
    parameter would.

    Examples:
        >>> weight = nn.Parameter(torch.ones(2))
        >>> attached(weight).square().sum().backward()
        >>> weight.grad
        tensor([2., 2.])
    """

    # As for parameters: what is computed from it is a plain tensor.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    # What isinstance(..., nn.Parameter) looks for.
    _is_param = True
    _original: nn.Parameter

    @property
    def requires_grad(self) -> bool:
        """Whether it is attached."""
        return not self.is_leaf

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.is_leaf:
            self._attach()
        elif not value:
            self.detach_()

    def requires_grad_(self, requires_grad: bool = True) -> Attached:
        """Freeze or thaw."""
        self.requires_grad = requires_grad
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        """Return a parameter of its own."""
        if id(self) not in memo:
            value = self.detach().clone()
            memo[id(self)] = nn.Parameter(value, requires_grad=self.requires_grad)
        copied: nn.Parameter = memo[id(self)]
        return copied

    def _attach(self) -> None:
        """Enter the graph, with the value that it has by now."""
        original = self._original
        required = original.requires_grad
        original.requires_grad_(True)
        # The value stays, so what was computed from it before it was frozen holds.
        keep = _unsafe_preserve_version_counter(self)
        with torch.enable_grad(), keep:
            self.copy_(self.detach() + (original - original.detach()))
        # While it is frozen itself, gradients that arrive there are dropped.
        original.requires_grad_(required)


def attached(parameter: nn.Parameter) -> Attached:
    """Return a copy of a parameter, attached to it unless it is frozen."""
    twin = Tensor._make_subclass(Attached, torch.empty_like(parameter).detach())
    twin._original = parameter
    with torch.set_grad_enabled(parameter.requires_grad):
        twin.copy_(parameter)
    return twin
