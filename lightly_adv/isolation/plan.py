"""What a module holds, found once, and set aside for each evaluation."""

from __future__ import annotations

import functools
import operator
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightly_adv.isolation import kinds, mute, stand_ins
from lightly_adv.isolation.compiled import check_compiled
from lightly_adv.isolation.copying import copied_iterator, copied_tensor
from lightly_adv.isolation.holders import (
    Cell,
    ClassHolder,
    DictHolder,
    Holder,
    ListHolder,
    ModuleHolder,
    Namespace,
    OptimizerHolder,
    Slots,
)
from lightly_adv.isolation.nodes import (
    CopyNode,
    Node,
    RowNode,
    StateNode,
    TensorNode,
    TupleNode,
    array_node,
)
from lightly_adv.isolation.states import state_of


class Plan:
    """Everything that a module refers to and that could change, by identity.

    The first evaluation walks through all of it. Those after it compare the contents
    of containers and objects with what they were, and look into those that differ.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._nodes: dict[int, Node] = {}
        self._outside: list[Any] = []
        self._attached: list[nn.Module] = []
        self._holders: list[Holder] = []
        self._rowed: list[Holder] = []
        self._hollow: list[Any] = []
        self._tensors: list[TensorNode] = []
        self._copies: list[CopyNode] = []
        self._states: list[StateNode] = []
        self._taken: list[StateNode] = []
        self.is_active = False

    @property
    def trainers(self) -> list[Any]:
        """The trainers that the module, or a part of it, is attached to."""
        found = [each.__dict__["_trainer"] for each in self._attached]
        return list({id(each): each for each in found}.values())

    def enter(self, *, differentiable: bool, keep: Iterable[Any]) -> None:
        """Put stand-ins in place."""
        try:
            self._update()
        except BaseException:
            # Whatever was only half looked at is found anew.
            self._nodes, self._holders = {}, []
            raise
        kept = set(map(id, keep))
        tensors = [each.stand_in for each in self._tensors]
        if differentiable:
            for tensor in tensors:
                tensor.separate()
        else:
            stand_ins.fill(tensors)
        for tensor in tensors:
            if id(tensor.target) in kept:
                tensor.now = tensor.target
        for holder in self._holders:
            holder.fill_row()
        with torch.inference_mode(False):
            for node in self._copies:
                node.make()
        self._taken = [each for each in self._states if id(each.target) not in kept]
        for state in self._taken:
            state.take()
        self.is_active = True
        for holder in self._holders:
            holder.exchange()

    def leave(self) -> None:
        """Put the original objects back."""
        if not self.is_active:
            return
        for holder in self._holders:
            holder.restore()
        for state in self._taken:
            state.put()
        if any(self._hollow):
            for each in self._hollow:
                each.clear()
        for node in self._tensors:
            node.stand_in.now = node.stand_in.target
        self.is_active = False

    def distrust(self) -> None:
        """Fill all parameters in the next evaluation, whatever is told of them."""
        for tensor in self._tensors:
            tensor.stand_in.distrust()

    def __call__(self, value: Any, *, is_strict: bool = True) -> Node | None:
        """Return the node of an object; None if it never changes.

        Raises:
            TypeError: If it is a module that cannot be set aside.
            ValueError: If it is a parameter without a shape.
        """
        if type(value) in kinds.FIXED:
            return None
        found = self._nodes.get(id(value))
        if found is None:
            try:
                found = self._made(value, is_strict=is_strict)
            except (TypeError, ValueError):
                if is_strict:
                    raise
            if found is not None:
                self._nodes[id(value)] = found
        return found

    def is_known(self, value: Any, *, besides: Holder) -> bool:
        """Whether an object has a node, or a place in a row of another holder."""
        rows = [each.row for each in self._rowed if each is not besides]
        return id(value) in self._nodes or any(
            row is not None and id(value) in row.twins for row in rows
        )

    def _update(self) -> None:
        """Look again at what differs from the last time."""
        outside = self._state_outside()
        changed = [each for each in self._holders if not each.is_same()]
        moved = [each.examine(self) for each in changed]
        if (
            not self._holders
            or any(moved)
            or any(self._hollow)
            or len(outside) != len(self._outside)
            or any(map(operator.is_not, outside, self._outside))
        ):
            self._walk()
            if self._state_outside() != self._outside:
                self._walk()

    def _state_outside(self) -> list[Any]:
        return [each for part in self._attached for each in kinds.trainer_state(part)]

    def _walk(self) -> None:
        """Find everything there is; what was known keeps its node."""
        self._outside = self._state_outside()
        roots = [self(self._module), *map(self._lenient, self._outside)]
        order = list(self._reachable([each for each in roots if each is not None]))
        self._nodes = {
            id(each.target): each
            for each in order
            if self._nodes.get(id(each.target)) is each
        }
        modules = [each.target for each in order if isinstance(each, ModuleHolder)]
        self._attached = [
            each for each in modules if each.__dict__.get("_trainer") is not None
        ]
        holders = [each for each in order if isinstance(each, Holder)]
        self._holders = holders
        self._hollow = [empty for each in holders for empty in each.hollow]
        self._tensors = [each for each in order if isinstance(each, TensorNode)]
        buffers = {id(each) for part in modules for each in part._buffers.values()}
        for tensor in self._tensors:
            tensor.stand_in.is_buffer = id(tensor.target) in buffers
        self._states = [each for each in order if isinstance(each, StateNode)]
        self._copies = _sorted([each for each in order if isinstance(each, CopyNode)])

    def _lenient(self, value: Any) -> Node | None:
        return self(value, is_strict=False)

    def _reachable(self, roots: list[Node]) -> Iterator[Node]:
        seen = set(map(id, roots))
        self._rowed = []
        waiting = deque(roots)
        while waiting:
            node = waiting.popleft()
            if isinstance(node, Holder) and node.is_unseen:
                node.examine(self)
            if isinstance(node, Holder) and node.row is not None:
                self._rowed.append(node)
            yield node
            for part in node.parts:
                if id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)

    def _made(self, value: Any, *, is_strict: bool) -> Node | None:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            return self._of_module(value, is_strict=is_strict)
        if type(value) not in _BUILT_IN and kinds.records(type(value)):
            return CopyNode(value, mute.Muted)
        if isinstance(value, tuple):
            parts = [self(each, is_strict=is_strict) for each in value]
            return TupleNode(value, parts) if any(parts) else None
        container = _container(value)
        if container is not None:
            own = self._attributes(value) if type(value) not in _BUILT_IN else []
            return container(value, is_strict=is_strict, more=own)
        return self._of_object(value)

    def _tensor(self, value: Tensor) -> Node:
        for holder in self._rowed:
            if holder.row is not None and id(value) in holder.row.twins:
                return RowNode(value, functools.partial(getattr, holder, "row"))
        if stand_ins.is_odd(value):
            return CopyNode(value, copied_tensor)
        return TensorNode(value)

    def _of_module(self, value: nn.Module, *, is_strict: bool) -> Node:
        if isinstance(value, torch.jit.ScriptModule):
            raise TypeError(
                f"{type(value).__name__} is a scripted module, whose state cannot be "
                "set aside; use the Python module that it was made from."
            )
        check_compiled(value)
        more = self._of_classes(type(value))
        return ModuleHolder(value, is_strict=is_strict, more=more)

    def _of_object(self, value: Any) -> Node | None:
        """Return the node of what is neither tensor, module nor container."""
        if type(value) is np.ndarray:
            return array_node(value)
        if type(value) is set:
            return CopyNode(value, set)
        if _is_iterator(value):
            return CopyNode(value, copied_iterator)
        state = state_of(value)
        if state is not None:
            return StateNode(value, state)
        if isinstance(value, FunctionType | MethodType | functools.partial):
            return self._of_function(value)
        optimizer = kinds.optimizer_of(value)
        if optimizer is not None:
            return OptimizerHolder(optimizer)
        if kinds.is_plain_object(value):
            own = self._attributes(value)
            return Node(value, [*own, *self._of_classes(type(value))])
        return None

    def _attributes(self, value: Any) -> list[Node]:
        """Return nodes of the attributes of an object."""
        found: list[Node] = []
        if hasattr(value, "__dict__"):
            found.append(Namespace(value, is_strict=False))
        if kinds.slots_of(type(value)):
            found.append(Slots(value, is_strict=False))
        return found

    def _of_classes(self, kind: type) -> list[Node]:
        found = []
        for base, _ in kinds.class_attributes(kind):
            known = self._nodes.get(id(base)) or ClassHolder(base, is_strict=False)
            found.append(self._nodes.setdefault(id(base), known))
        return found

    def _of_function(self, value: Any) -> Node | None:
        """Return the node of a function, with what it takes from outside."""
        cells = [self._of_cell(each) for each in kinds.cells_of(value)]
        if isinstance(value, functools.partial):
            others = [value.func, *value.args, value.keywords]
        else:
            others = [getattr(value, "__self__", None)]
        parts = [*cells, *(self._lenient(each) for each in others)]
        found = [each for each in parts if each is not None]
        return Node(value, found) if found else None

    def _of_cell(self, cell: CellType) -> Node:
        known = self._nodes.get(id(cell)) or Cell(cell, is_strict=False)
        return self._nodes.setdefault(id(cell), known)


def _container(value: Any) -> type[Holder] | None:
    if isinstance(value, list | deque):
        return ListHolder
    return DictHolder if isinstance(value, dict) else None


_BUILT_IN = frozenset((list, dict, deque, tuple, OrderedDict, defaultdict, Counter))


def _is_iterator(value: Any) -> bool:
    places = ("builtins", "itertools")
    return hasattr(value, "__next__") and type(value).__module__ in places


def _sorted(copies: list[CopyNode]) -> list[CopyNode]:
    """Put the items of tuples before the tuples."""
    found: dict[int, CopyNode] = {}

    def add(node: CopyNode) -> None:
        if id(node) not in found:
            for part in node.parts:
                if isinstance(part, CopyNode):
                    add(part)
            found[id(node)] = node

    for each in copies:
        add(each)
    return list(found.values())
