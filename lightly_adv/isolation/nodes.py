"""Objects that a module holds, and what takes their place during an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.isolation import copying
from lightly_adv.isolation.attached import Attached, attached
from lightly_adv.isolation.states import State


class Node:
    """An object that a module holds.

    Args:
        target: The object.
        parts: Nodes of what it refers to.
    """

    is_replaced = False
    """Whether another object takes its place."""

    def __init__(self, target: Any, parts: Iterable[Node] = ()) -> None:
        self.target = target
        self.parts = list(parts)
        self.now = target
        """What is in its place."""


class StateNode(Node):
    """An object whose state is read and put back."""

    def __init__(self, target: Any, state: State) -> None:
        super().__init__(target)
        self._state = state
        self._saved: Any = None

    def take(self) -> None:
        """Read the state."""
        self._saved = self._state.read()

    def put(self) -> None:
        """Put the state back."""
        self._state.write(self._saved)


class CopyNode(Node):
    """An object that is copied for each evaluation."""

    is_replaced = True

    def __init__(self, target: Any, copy: Callable[[Any], Any]) -> None:
        super().__init__(target)
        self._copy = copy

    def make(self) -> None:
        """Copy the object."""
        self.now = self._copy(self.target)


class TupleNode(CopyNode):
    """A tuple, with or without names, rebuilt where one of its items is replaced."""

    def __init__(self, target: tuple[Any, ...], items: list[Node | None]) -> None:
        super().__init__(target, self._with_items)
        self.parts = [node for node in items if node is not None]
        self._items = items

    @property
    def is_replaced(self) -> bool:  # type: ignore[override]
        """Whether an item is replaced."""
        return any(node.is_replaced for node in self.parts)

    def _with_items(self, target: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self.is_replaced:
            return target
        make = getattr(type(target), "_make", tuple)
        copied: tuple[Any, ...] = make(
            item if node is None else node.now
            for item, node in zip(target, self._items, strict=True)
        )
        return copied


class TensorNode(Node):
    """A tensor, replaced by another one with the same values.

    On the CPU the two share their memory until one of them is written to, by whatever
    way: PyTorch copies the memory then. On an accelerator, where a copy costs next to
    nothing, the values are copied for each evaluation, into memory that is kept.
    """

    is_replaced = True

    def __init__(self, target: Tensor) -> None:
        super().__init__(target)
        self._is_parameter = isinstance(target, nn.Parameter)
        self.is_state = self._is_parameter
        """Whether it is a parameter or buffer, and no data whatever its size."""
        self._kept: Tensor | None = None

    def make(self) -> tuple[Tensor, Tensor] | None:
        """Make the tensor that takes the place; return what to copy from where."""
        target: Tensor = self.target
        if _copies_on_write(target):
            try:
                twin = torch._lazy_clone(target)
            except RuntimeError:  # memory of NumPy, of a file, or of other processes
                is_data = not self.is_state and target.nbytes > copying.LARGE
                twin = target if is_data else target.detach().clone()
            self._kept = None
        else:
            # An alias, so that what is assigned to its `data` leaves the memory alone.
            twin = self._memory().detach()
        if self._is_parameter:
            twin = nn.Parameter(twin, requires_grad=False)
        self.now = twin
        return None if self._kept is None else (self._kept, target.detach())

    def make_attached(self) -> None:
        """Make a tensor for a graph that outlives the evaluation."""
        target = self.target
        self.now = attached(target) if self._is_parameter else target.detach().clone()

    def _memory(self) -> Tensor:
        kept = self._kept
        if kept is None or _layout(kept) != _layout(self.target):
            kept = torch.empty_like(self.target, requires_grad=False).detach()
            self._kept = kept
        return kept


def replace_tensors(nodes: Iterable[TensorNode]) -> None:
    """Make the tensors that take the place of others."""
    with torch.inference_mode(False), torch.no_grad():
        pairs = [pair for node in nodes if (pair := node.make()) is not None]
        if pairs:
            memory, values = zip(*pairs, strict=True)
            torch._foreach_copy_(memory, values)


def is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense and of no class of its own, parameters aside."""
    dense = value.layout is torch.strided and not value.is_nested
    known = type(value) in (Tensor, nn.Parameter, Attached)
    return known and dense and not value.is_quantized


def _copies_on_write(value: Tensor) -> bool:
    # PyTorch has no public name for it; without it values are copied.
    return value.is_cpu and hasattr(torch, "_lazy_clone")


def _layout(value: Tensor) -> tuple[Any, ...]:
    return value.shape, value.stride(), value.dtype, value.device
