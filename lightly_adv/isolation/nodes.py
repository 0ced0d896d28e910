"""Objects that a module holds, and what is in their place during an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import Tensor

from lightly_adv.isolation.copying import copied_array
from lightly_adv.isolation.stand_ins import Row, StandIn, as_tensor
from lightly_adv.isolation.states import State


class Node:
    """An object that a module holds.

    Args:
        target: The object.
        parts: Nodes of what it refers to.
    """

    is_replaced = False
    """Whether another object stands for it."""

    def __init__(self, target: Any, parts: Iterable[Node] = ()) -> None:
        self.target = target
        self.parts = list(parts)

    @property
    def now(self) -> Any:
        """What is in its place during an evaluation."""
        return self.target


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


class TensorNode(Node):
    """A tensor, with what stands for it."""

    is_replaced = True

    def __init__(self, target: Tensor) -> None:
        super().__init__(target)
        self.stand_in = StandIn(target)

    @property
    def now(self) -> Any:
        """The tensor in its place."""
        return self.stand_in.now


class ArrayNode(TensorNode):
    """A large array; its bytes are a tensor."""

    def __init__(self, target: np.ndarray[Any, Any], content: Tensor) -> None:
        super().__init__(content)
        self.target = target

    @property
    def now(self) -> Any:
        """The array in its place."""
        values = self.stand_in.now.numpy().view(self.target.dtype)
        return values.reshape(self.target.shape)


class CopyNode(Node):
    """An object that is copied in each evaluation."""

    is_replaced = True

    def __init__(self, target: Any, copy: Callable[[Any], Any]) -> None:
        super().__init__(target)
        self._copy = copy
        self._now = target

    @property
    def now(self) -> Any:
        """The copy."""
        return self._now

    def make(self) -> None:
        """Copy the object."""
        self._now = self._copy(self.target)


class RowNode(CopyNode):
    """A tensor that is one of many in another place."""

    def __init__(self, target: Tensor, row: Callable[[], Row | None]) -> None:
        super().__init__(target, self._twin)
        self._row = row

    def _twin(self, target: Tensor) -> Tensor:
        row = self._row()
        twin = None if row is None else row.twins.get(id(target))
        return target.detach().clone() if twin is None else twin


class TupleNode(CopyNode):
    """A tuple, with or without names, made anew where something stands for an item."""

    def __init__(self, target: tuple[Any, ...], found: list[Node | None]) -> None:
        super().__init__(target, self._with_parts)
        self.parts = [each for each in found if each is not None]
        self._found = found

    @property
    def is_replaced(self) -> bool:  # type: ignore[override]
        """Whether something stands for an item."""
        return any(each.is_replaced for each in self.parts)

    def _with_parts(self, target: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self.is_replaced:
            return target
        make = getattr(type(target), "_make", tuple)
        copied: tuple[Any, ...] = make(
            item if node is None else node.now
            for item, node in zip(target, self._found, strict=True)
        )
        return copied


def array_node(value: np.ndarray[Any, Any]) -> Node | None:
    """Return the node of an array, or None if nothing can be written to it."""
    base: Any = value
    while isinstance(getattr(base, "base", None), np.ndarray):
        base = base.base
    if not value.flags.writeable or isinstance(base, np.memmap):
        return None
    content = as_tensor(value)
    return (
        CopyNode(value, copied_array) if content is None else ArrayNode(value, content)
    )
