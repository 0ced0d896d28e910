"""What a module holds, found once, and set aside for each evaluation."""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import chain
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightly_adv.isolation import compiled, copying, kinds, mute, nodes
from lightly_adv.isolation.contents import (
    Attributes,
    ClassData,
    Contents,
    DictContents,
    ListContents,
    ModuleAttributes,
    OptimizerOptions,
    Slots,
    Variable,
)
from lightly_adv.isolation.nodes import (
    CopyNode,
    Node,
    StateNode,
    TensorNode,
    TupleNode,
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
        self._trained: list[nn.Module] = []
        self._roots: list[Any] = []
        self._contents: list[Contents] = []
        self._empty: list[Any] = []
        self._tensors: list[TensorNode] = []
        self._copies: list[CopyNode] = []
        self._states: list[StateNode] = []
        self._taken: list[StateNode] = []
        self.is_active = False

    @property
    def trainers(self) -> list[Any]:
        """The trainers that the module, or a part of it, is attached to."""
        trainers = map(_trainer, self._trained)
        return list({id(trainer): trainer for trainer in trainers}.values())

    def enter(self, *, differentiable: bool, keep: Iterable[Any]) -> None:
        """Put copies in place.

        Raises:
            TypeError: If the module has a part that cannot be set aside.
            ValueError: If it has a parameter without a shape.
        """
        try:
            self._update()
        except BaseException:
            # What was looked at in part is looked at again.
            self._nodes, self._contents, self._roots = {}, [], []
            raise
        kept = set(map(id, keep))
        if differentiable:
            for tensor in self._tensors:
                tensor.make_attached()
        else:
            nodes.replace_tensors(self._tensors)
        for tensor in self._tensors if kept else ():
            if id(tensor.target) in kept:
                tensor.now = tensor.target
        with torch.inference_mode(False):
            for node in self._copies:
                node.make()
        self._taken = [node for node in self._states if id(node.target) not in kept]
        for state in self._taken:
            state.take()
        self.is_active = True
        for contents in self._contents:
            contents.replace()

    def leave(self) -> None:
        """Put the original objects back."""
        if not self.is_active:
            return
        for contents in self._contents:
            contents.restore()
        for state in self._taken:
            state.put()
        if any(self._empty):
            for container in self._empty:
                container.clear()
        for tensor in self._tensors:
            tensor.now = None
        self.is_active = False

    def _update(self) -> None:
        """Look again at what differs from the last time."""
        changed = [contents for contents in self._contents if not contents.is_same()]
        moved = [contents.examine(self._node) for contents in changed]
        if (
            any(moved)
            or any(self._empty)
            or (changed and not kinds.are_same(self._trained, self._attached()))
            or not kinds.are_same(self._roots, self._roots_now())
        ):
            self._walk()

    def _roots_now(self) -> list[Any]:
        """The module, and optimizers and schedulers of its trainers."""
        states = map(kinds.trainer_state, self._trained)
        return [self._module, *chain.from_iterable(states)]

    def _attached(self) -> list[nn.Module]:
        """The parts of the module that have a trainer by now."""
        parts = self._module.modules()
        return [part for part in parts if _trainer(part) is not None]

    def _walk(self) -> None:
        """Find everything there is; what was known keeps its node."""
        _check(self._module)
        self._trained = self._attached()
        self._roots = self._roots_now()
        order = list(self._reachable())
        self._nodes = {
            id(node.target): node
            for node in order
            if self._nodes.get(id(node.target)) is node
        }
        self._contents = [node for node in order if isinstance(node, Contents)]
        self._empty = [empty for node in self._contents for empty in node.empty]
        self._tensors = [node for node in order if isinstance(node, TensorNode)]
        modules = [node.target for node in order if isinstance(node, ModuleAttributes)]
        buffers = {id(x) for part in modules for x in part._buffers.values()}
        for tensor in self._tensors:
            tensor.is_state = tensor.is_state or id(tensor.target) in buffers
        self._states = [node for node in order if isinstance(node, StateNode)]
        copies = [node for node in order if isinstance(node, CopyNode)]
        # Tuples of tuples last: they are made of what takes the place of their items.
        self._copies = sorted(copies, key=_depth)

    def _reachable(self) -> Iterator[Node]:
        waiting = deque(node for root in self._roots if (node := self._node(root)))
        seen = set(map(id, waiting))
        while waiting:
            node = waiting.popleft()
            if isinstance(node, Contents) and node.is_unseen:
                node.examine(self._node)
            yield node
            for part in node.parts:
                if id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)

    def _node(self, value: Any) -> Node | None:
        """Return the node of an object; None if it never changes."""
        if type(value) in kinds.FIXED:
            return None
        node = self._nodes.get(id(value))
        if node is None:
            node = self._new_node(value)
            if node is not None:
                self._nodes[id(value)] = node
        return node

    def _new_node(self, value: Any) -> Node | None:
        if isinstance(value, Tensor):
            return _tensor_node(value)
        if isinstance(value, nn.Module):
            # A part is checked before; this one is held in another way.
            if _obstacle(value) is not None:
                return None
            return ModuleAttributes(value, more=self._of_classes(type(value)))
        if type(value) not in _BUILT_IN and kinds.records(type(value)):
            return CopyNode(value, mute.Muted)
        if isinstance(value, tuple):
            items = list(map(self._node, value))
            return TupleNode(value, items) if any(items) else None
        if isinstance(value, list | deque | dict):
            more = [] if type(value) in _BUILT_IN else self._attributes(value)
            contents = DictContents if isinstance(value, dict) else ListContents
            return contents(value, more=more)
        return _value_node(value) or self._group(value)

    def _group(self, value: Any) -> Node | None:
        """Return the node of an object that stays, with nodes of what it refers to."""
        if isinstance(value, FunctionType | MethodType | functools.partial):
            parts = self._of_function(value)
            return Node(value, parts) if parts else None
        optimizer = kinds.optimizer_of(value)
        if optimizer is not None:
            return OptimizerOptions(optimizer)
        if kinds.is_plain_object(value):
            parts = [*self._attributes(value), *self._of_classes(type(value))]
            return Node(value, parts)
        return None

    def _attributes(self, value: Any) -> list[Node]:
        """Return nodes of the attributes of an object."""
        in_dict: list[Node] = [Attributes(value)] if hasattr(value, "__dict__") else []
        return [*in_dict, Slots(value)] if kinds.slots_of(type(value)) else in_dict

    def _of_classes(self, kind: type) -> list[Node]:
        return [
            self._nodes.setdefault(id(base), ClassData(base))
            for base, _ in kinds.class_attributes(kind)
        ]

    def _of_function(self, value: Any) -> list[Node]:
        """Return nodes of what a function takes from outside."""
        cells: list[Node] = [
            self._nodes.setdefault(id(cell), Variable(cell))
            for cell in kinds.cells_of(value)
        ]
        if isinstance(value, functools.partial):
            others = [value.func, *value.args, value.keywords]
        else:
            others = [getattr(value, "__self__", None)]
        return [*cells, *filter(None, map(self._node, others))]


_BUILT_IN = frozenset((list, dict, deque, tuple, OrderedDict, defaultdict, Counter))


def _tensor_node(value: Tensor) -> Node | None:
    if is_lazy(value):
        return None
    plain = nodes.is_plain(value)
    return TensorNode(value) if plain else CopyNode(value, copying.copied_tensor)


def _value_node(value: Any) -> Node | None:
    """Return the node of what holds values alone, such as an array."""
    if type(value) is np.ndarray:
        is_copied = value.flags.writeable and not copying.is_data(value)
        return CopyNode(value, copying.copied_array) if is_copied else None
    if type(value) is set:
        return CopyNode(value, set)
    if kinds.is_built_in_iterator(value):
        return CopyNode(value, copying.copied_iterator)
    state = state_of(value)
    return None if state is None else StateNode(value, state)


def _depth(node: Node) -> int:
    """How deep tuples are nested in one."""
    parts = node.parts if isinstance(node, TupleNode) else ()
    return 1 + max(map(_depth, parts), default=0)


def _trainer(module: nn.Module) -> Any:
    return vars(module).get("_trainer")


def _obstacle(module: nn.Module) -> str | None:
    """Return why a module cannot be set aside; None if it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return (
            f"{type(module).__name__} is a scripted module, whose state cannot be set "
            "aside; use the Python module that it was made from."
        )
    return compiled.obstacle(module)


def _check(module: nn.Module) -> None:
    """Refuse a module with parts that cannot be set aside.

    Raises:
        TypeError: If a part is scripted, or compiled by an old version of PyTorch.
        ValueError: If a parameter or buffer has no shape yet.
    """
    for part in module.modules():
        obstacle = _obstacle(part)
        if obstacle is not None:
            raise TypeError(obstacle)
        for tensor in [*part._parameters.values(), *part._buffers.values()]:
            if tensor is not None and is_lazy(tensor):
                raise ValueError(
                    "the module holds a lazy parameter or buffer that has no shape "
                    "yet; run one forward pass before it is attacked."
                )
