"""What stays in place while an evaluation uses, and changes, its contents.

Lists, dicts and objects keep their identity, so that whoever else refers to them, a
closure or a callback, sees what the module sees. Their contents are remembered and put
back. To find out whether these are still the same takes a few comparisons in C.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from typing import Any, TypeAlias

from torch import Tensor, nn

from lightly_adv.isolation import kinds, mute
from lightly_adv.isolation.nodes import Node

MANY = 1000
"""Data: so many objects in one container, or tensors in one list, are left alone."""

Find: TypeAlias = Callable[[Any], Node | None]
"""Returns the node of an object; None if it never changes."""

_MISSING = object()


class Contents(Node):
    """Something with contents, by keys, that can be read and written.

    Args:
        target: The object.
        more: Further nodes of the same object.
        skip: Keys of contents that are not looked into.
    """

    def __init__(
        self, target: Any, *, more: Iterable[Node] = (), skip: Collection[Any] = ()
    ) -> None:
        super().__init__(target)
        self.empty: list[Any] = []
        """The empty containers in it, of which modules have many."""
        self._more = list(more)
        self._skip = skip
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._is_seen = False
        self._replaced: list[tuple[int, Node]] = []

    def read(self) -> tuple[Collection[Any], Collection[Any]]:
        """Return keys and values, in an order of their own."""
        raise NotImplementedError

    def write(self, keys: Sequence[Any], values: list[Any]) -> None:
        """Replace the contents."""
        raise NotImplementedError

    def is_same(self) -> bool:
        """Whether the contents are what they were, each object the same."""
        keys, values = self.read()
        same = self._is_seen and kinds.are_same(values, self._values)
        return same and kinds.are_same(keys, self._keys)

    @property
    def is_unseen(self) -> bool:
        """Whether nobody has looked yet into what is in it."""
        return not self._is_seen or any(self.empty)

    def examine(self, find: Find) -> bool:
        """Look at the contents; return whether other objects have to be looked at."""
        before = [*self.parts, *self.empty]
        self._remember()
        values, places = self._values, self._changeable()
        if sum(self._is_data(values[at]) for at in places) > MANY:
            places = [at for at in places if not self._is_data(values[at])]
        self.empty = [values[at] for at in places if _is_empty(values[at])]
        places = [at for at in places if not _is_empty(values[at])]
        nodes = [(at, node) for at in places if (node := find(values[at]))]
        self.parts = self._more + [node for _, node in nodes]
        self._replaced = [(at, node) for at, node in nodes if node.is_replaced]
        return not kinds.are_same(before, [*self.parts, *self.empty])

    def _remember(self) -> None:
        self._keys, self._values = map(list, self.read())
        self._is_seen = True

    def _changeable(self) -> list[int]:
        """Return where there is something that may change."""
        values, fixed = self._values, kinds.FIXED
        if _is_constant(values):
            return []
        places = [at for at, value in enumerate(values) if type(value) not in fixed]
        return [
            at for at in places if not (self._skip and self._keys[at] in self._skip)
        ]

    def _is_data(self, value: Any) -> bool:
        """Whether a value is data where there are many of its kind."""
        return not isinstance(value, Tensor | nn.Module)

    def replace(self) -> None:
        """Put what takes the place of the contents there."""
        if self._replaced:
            values = list(self._values)
            for at, node in self._replaced:
                values[at] = node.now
            self.write(self._keys, values)

    def restore(self) -> None:
        """Put the contents back."""
        if not self.is_same():
            self.write(self._keys, self._values)


class ListContents(Contents):
    """The items of a list or deque."""

    def _is_data(self, value: Any) -> bool:
        return type(value) is Tensor or super()._is_data(value)

    def read(self) -> tuple[Collection[Any], Collection[Any]]:
        """Return the items."""
        return (), self.target

    def restore(self) -> None:
        """Put the items back."""
        # To compare a list takes longer.
        if isinstance(self.target, list) or not self.is_same():
            self.write((), self._values)

    def write(self, keys: Sequence[Any], values: list[Any]) -> None:
        """Replace the items."""
        if isinstance(self.target, list):
            list.__setitem__(self.target, slice(None), values)
        else:
            deque.clear(self.target)
            deque.extend(self.target, values)


class DictContents(Contents):
    """The items of a dict of any kind."""

    @property
    def mapping(self) -> dict[Any, Any]:
        """The dict."""
        mapping: dict[Any, Any] = self.target
        return mapping

    def read(self) -> tuple[Collection[Any], Collection[Any]]:
        """Return keys and values in their order."""
        return dict.keys(self.mapping), dict.values(self.mapping)

    def replace(self) -> None:
        """Put what takes the place of the values there."""
        mapping, keys = self.mapping, self._keys
        for at, node in self._replaced:
            dict.__setitem__(mapping, keys[at], node.now)

    def write(self, keys: Sequence[Any], values: list[Any]) -> None:
        """Replace the contents, without what a subclass may do besides."""
        mapping = self.mapping
        if not isinstance(mapping, OrderedDict):
            dict.clear(mapping)
            dict.update(mapping, zip(keys, values, strict=True))
            return
        OrderedDict.clear(mapping)
        for key, value in zip(keys, values, strict=True):
            OrderedDict.__setitem__(mapping, key, value)


class Attributes(DictContents):
    """The attributes of an object."""

    @property
    def mapping(self) -> dict[Any, Any]:
        """The dict that they are in."""
        mapping: dict[Any, Any] = self.target.__dict__
        return mapping


class ModuleAttributes(Attributes):
    """The attributes of a module."""

    target: nn.Module

    @functools.cached_property
    def _logs(self) -> bool:
        return mute.is_lightning_module(self.target)

    def replace(self) -> None:
        """Put what takes the place of the attributes there, and let it log nothing."""
        super().replace()
        if self._logs:
            self.mapping.update(dict.fromkeys(mute.LOG_METHODS, mute.silence))


class Variable(Contents):
    """A variable of a function around a function."""

    def read(self) -> tuple[Collection[Any], Collection[Any]]:
        """Return the value."""
        try:
            return (0,), [self.target.cell_contents]
        except ValueError:
            return (0,), [_MISSING]

    def write(self, keys: Sequence[Any], values: list[Any]) -> None:
        """Replace the value."""
        if values[0] is _MISSING:
            del self.target.cell_contents
        else:
            self.target.cell_contents = values[0]


class Slots(Contents):
    """The attributes of an object that are not in a dict."""

    def read(self) -> tuple[Collection[Any], Collection[Any]]:
        """Return names and values."""
        names = kinds.slots_of(type(self.target))
        return names, [getattr(self.target, name, _MISSING) for name in names]

    def write(self, keys: Sequence[Any], values: list[Any]) -> None:
        """Replace the values."""
        for name, value in zip(keys, values, strict=True):
            if value is not _MISSING:
                object.__setattr__(self.target, name, value)
            elif hasattr(self.target, name):
                object.__delattr__(self.target, name)


class ClassData(Contents):
    """The data that a class holds itself, for all its objects."""

    target: type

    def read(self) -> tuple[Collection[Any], Collection[Any]]:
        """Return names and values."""
        data = kinds.own_data(self.target)
        return data.keys(), data.values()

    def write(self, keys: Sequence[Any], values: list[Any]) -> None:
        """Replace the data."""
        wanted = dict(zip(keys, values, strict=True))
        for name in kinds.own_data(self.target).keys() - wanted.keys():
            delattr(self.target, name)
        for name, value in wanted.items():
            if vars(self.target).get(name, _MISSING) is not value:
                setattr(self.target, name, value)


class OptimizerOptions(Attributes):
    """Learning rates and the like of an optimizer; not what it has of parameters."""

    def examine(self, find: Find) -> bool:
        """Look at the parameter groups."""
        before = self.parts
        self._remember()
        groups = self.target.param_groups
        earlier = {id(node.target): node for node in before}
        nodes = [_Groups(groups), *(DictContents(x, skip=("params",)) for x in groups)]
        self.parts = [earlier.get(id(node.target), node) for node in nodes]
        return not kinds.are_same(before, self.parts)


class _Groups(ListContents):
    """The list of parameter groups, which are looked after by themselves."""

    def _changeable(self) -> list[int]:
        return []


_CONTAINERS = frozenset((dict, OrderedDict, list, deque))


def _is_empty(value: Any) -> bool:
    return type(value) in _CONTAINERS and not value


def _is_constant(values: list[Any]) -> bool:
    """Whether nothing in a list can change; tuples of such values cannot either."""
    types = set(map(type, values))
    if types <= kinds.FIXED:
        return True
    if types - kinds.FIXED != {tuple}:
        return False
    tuples = (value for value in values if type(value) is tuple)
    return set(map(type, chain.from_iterable(tuples))) <= kinds.FIXED
