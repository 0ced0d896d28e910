"""What stays in place while an evaluation uses, and changes, its contents.

Lists, dicts and objects keep their identity, so that whoever else refers to them, a
closure or a callback, sees what the module sees; their contents are remembered and put
back. To find out whether these are still the same takes a few comparisons in C.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any, Protocol

from torch import Tensor, nn

from lightly_adv.isolation import kinds, mute
from lightly_adv.isolation.nodes import Node
from lightly_adv.isolation.stand_ins import Row, fits_row

MANY = 1000
"""So many containers and objects in one container are data, and are left alone."""

ROW = 64
"""From so many small tensors in one container on, stand-ins for them are kept."""

_MISSING = object()


class Find(Protocol):
    """Finds the nodes of objects."""

    def __call__(self, value: Any, *, is_strict: bool) -> Node | None:
        """Return the node of an object; None if it never changes."""

    def is_known(self, value: Any, *, besides: Holder) -> bool:
        """Whether an object has a node, or a place in a row of another holder."""


class Holder(Node):
    """Something with contents, by keys, that can be read and written.

    Args:
        target: The object.
        is_strict: Whether what is in it is part of the module, so that what cannot be
            set aside is an error.
        more: Further nodes of the same object.
        skip: Keys of contents that are not looked into.
    """

    def __init__(
        self,
        target: Any,
        *,
        is_strict: bool = True,
        more: Iterable[Node] = (),
        skip: Collection[Any] = (),
    ) -> None:
        super().__init__(target)
        self.is_strict = is_strict
        self._more = list(more)
        self.hollow: list[Any] = []
        self._skip = skip
        self._keys: Any = None
        self._values: list[Any] = []
        self._slots: list[tuple[Any, Node]] = []
        self._row: Row | None = None
        self._with_row: list[Any] = []

    def read(self) -> tuple[Any, list[Any]]:
        """Return keys and values."""
        raise NotImplementedError

    def write(self, keys: Any, values: list[Any]) -> None:
        """Replace the contents."""
        raise NotImplementedError

    def is_same(self) -> bool:
        """Whether the contents are what they were, each object the same."""
        keys, values = self.read()
        return (
            self._keys is not None
            and len(values) == len(self._values)
            and all(map(operator.is_, values, self._values))
            and all(map(operator.is_, keys, self._keys))
        )

    @property
    def is_unseen(self) -> bool:
        """Whether nobody has looked yet into what is in it."""
        return self._keys is None or any(self.hollow)

    @property
    def row(self) -> Row | None:
        """What stands for many small tensors in it."""
        return self._row

    def examine(self, find: Find) -> bool:
        """Look at the contents; return whether others need care than before."""
        keys, values = self.read()
        before, known = self._values, [*self.parts, *self.hollow]
        self._keys, self._values = keys, values
        if self._row is not None and _has_grown(before, values):
            added = values[len(before) :]
            if all(map(fits_row, added)):
                self._row.take(added)
                self._with_row += [self._row.twins[id(each)] for each in added]
                return False
        self._sort(find)
        found = [*self.parts, *self.hollow]
        return len(known) != len(found) or any(map(operator.is_not, known, found))

    def _sort(self, find: Find) -> None:
        """Tell what stands for which of the contents."""
        careful = [] if _is_constant(self._values) else self._careful()
        self.hollow = [each for _, each in careful if _is_hollow(each)]
        careful = [each for each in careful if not _is_hollow(each[1])]
        tensors = [value for _, value in careful if fits_row(value)]
        row = None
        if len(tensors) > ROW:
            # Those that are held elsewhere, too, keep the stand-in that they have.
            own = [each for each in tensors if not find.is_known(each, besides=self)]
            row = Row(own, self._row)
            careful = [each for each in careful if id(each[1]) not in row.twins]
        others = [each for each in careful if not isinstance(each[1], _NO_DATA)]
        if len(others) > MANY:
            careful = [each for each in careful if isinstance(each[1], _NO_DATA)]
        found = [(at, find(value, is_strict=self.is_strict)) for at, value in careful]
        nodes = [(at, node) for at, node in found if node is not None]
        self._row = row
        self._use_row()
        self.parts = self._more + [node for _, node in nodes]
        self._slots = [(at, node) for at, node in nodes if node.is_replaced]

    def _careful(self) -> list[tuple[int, Any]]:
        return [
            (at, value)
            for at, (key, value) in enumerate(
                zip(self._keys, self._values, strict=True)
            )
            if type(value) not in kinds.FIXED and key not in self._skip
        ]

    def _use_row(self) -> None:
        if self._row is not None:
            twins = self._row.twins
            self._with_row = [twins.get(id(each), each) for each in self._values]

    def fill_row(self) -> None:
        """Copy the values of many small tensors that moved."""
        if self._row is not None and self._row.fill():
            self._use_row()

    def exchange(self) -> None:
        """Put what stands for the contents in their place."""
        if not self._slots and self._row is None:
            return
        values = list(self._values if self._row is None else self._with_row)
        for at, node in self._slots:
            values[at] = node.now
        self.write(self._keys, values)

    def restore(self) -> None:
        """Put the contents back."""
        if not self.is_same():
            self.write(self._keys, self._values)


class ListHolder(Holder):
    """A list or deque."""

    def read(self) -> tuple[Any, list[Any]]:
        """Return the items."""
        return (), list(self.target)

    def is_same(self) -> bool:
        """Whether the items are what they were."""
        return (
            self._keys is not None
            and len(self.target) == len(self._values)
            and all(map(operator.is_, self.target, self._values))
        )

    def _careful(self) -> list[tuple[int, Any]]:
        return [
            (at, value)
            for at, value in enumerate(self._values)
            if type(value) not in kinds.FIXED
        ]

    def restore(self) -> None:
        """Put the items back."""
        if type(self.target) is list or not self.is_same():
            # To compare a list takes longer.
            self.write((), self._values)

    def write(self, keys: Any, values: list[Any]) -> None:
        """Replace the items."""
        if isinstance(self.target, list):
            list.__setitem__(self.target, slice(None), values)
        else:
            deque.clear(self.target)
            deque.extend(self.target, values)


class ShallowList(ListHolder):
    """A list whose items are looked after by others."""

    def _careful(self) -> list[tuple[int, Any]]:
        return []


class DictHolder(Holder):
    """A dict of any kind."""

    @property
    def mapping(self) -> dict[Any, Any]:
        """The dict."""
        found: dict[Any, Any] = self.target
        return found

    def read(self) -> tuple[Any, list[Any]]:
        """Return keys and values in their order."""
        return list(dict.keys(self.mapping)), list(dict.values(self.mapping))

    def is_same(self) -> bool:
        """Whether keys and values are what they were."""
        mapping = self.mapping
        return (
            self._keys is not None
            and len(mapping) == len(self._keys)
            and all(map(operator.is_, dict.values(mapping), self._values))
            and all(map(operator.is_, mapping, self._keys))
        )

    def exchange(self) -> None:
        """Put what stands for the contents in their place."""
        if self._row is not None:
            super().exchange()
            return
        mapping, keys = self.mapping, self._keys
        for at, node in self._slots:
            dict.__setitem__(mapping, keys[at], node.now)

    def write(self, keys: Any, values: list[Any]) -> None:
        """Replace the contents, without what a subclass may do besides."""
        mapping = self.mapping
        if not isinstance(mapping, OrderedDict):
            dict.clear(mapping)
            dict.update(mapping, zip(keys, values, strict=True))
            return
        OrderedDict.clear(mapping)
        for key, value in zip(keys, values, strict=True):
            OrderedDict.__setitem__(mapping, key, value)


class Namespace(DictHolder):
    """The attributes of an object."""

    @property
    def mapping(self) -> dict[Any, Any]:
        """The dict that they are in."""
        found: dict[Any, Any] = self.target.__dict__
        return found


class ModuleHolder(Namespace):
    """The attributes of a module."""

    target: nn.Module
    _logs: bool | None = None

    def exchange(self) -> None:
        """Put what stands for the attributes in their place, and have it silent."""
        super().exchange()
        if self._logs is None:
            self._logs = mute.is_lightning_module(self.target)
        if self._logs:
            self.mapping.update(dict.fromkeys(mute.LOG_METHODS, mute.silence))


class Cell(Holder):
    """A variable of a function around a function."""

    def read(self) -> tuple[Any, list[Any]]:
        """Return the value."""
        try:
            return (0,), [self.target.cell_contents]
        except ValueError:
            return (0,), [_MISSING]

    def write(self, keys: Any, values: list[Any]) -> None:
        """Replace the value."""
        if values[0] is _MISSING:
            del self.target.cell_contents
        else:
            self.target.cell_contents = values[0]


class Slots(Holder):
    """The attributes of an object that are not in a dict."""

    _names: tuple[str, ...] | None = None

    def read(self) -> tuple[Any, list[Any]]:
        """Return names and values."""
        if self._names is None:
            self._names = kinds.slots_of(type(self.target))
        return self._names, [
            getattr(self.target, each, _MISSING) for each in self._names
        ]

    def write(self, keys: Any, values: list[Any]) -> None:
        """Replace the values."""
        for name, value in zip(keys, values, strict=True):
            if value is _MISSING:
                if hasattr(self.target, name):
                    object.__delattr__(self.target, name)
            else:
                object.__setattr__(self.target, name, value)


class ClassHolder(Holder):
    """The data that a class holds itself, for all its objects."""

    target: type

    def read(self) -> tuple[Any, list[Any]]:
        """Return names and values."""
        data = kinds.own_data(self.target)
        return list(data), list(data.values())

    def write(self, keys: Any, values: list[Any]) -> None:
        """Replace the data."""
        wanted = dict(zip(keys, values, strict=True))
        for name in kinds.own_data(self.target).keys() - wanted.keys():
            delattr(self.target, name)
        for name, value in wanted.items():
            if vars(self.target).get(name, _MISSING) is not value:
                setattr(self.target, name, value)


class OptimizerHolder(Namespace):
    """Learning rates and the like of an optimizer; not what it has of parameters."""

    def examine(self, find: Find) -> bool:
        """Look at the parameter groups."""
        before = list(self.parts)
        self._keys, self._values = self.read()
        groups = self.target.param_groups
        known = {id(each.target): each for each in before}
        options = [DictHolder(each, skip=("params",)) for each in groups]
        wanted: list[Node] = [ShallowList(groups), *options]
        self.parts = [known.get(id(each.target), each) for each in wanted]
        return len(before) != len(self.parts) or any(
            map(operator.is_not, before, self.parts)
        )


_NO_DATA = (Tensor, nn.Module)
_CONTAINERS = frozenset((dict, OrderedDict, list, deque))


def _is_hollow(value: Any) -> bool:
    """Whether a value is an empty container, of which modules have many."""
    return type(value) in _CONTAINERS and not value


def _is_constant(values: Iterable[Any]) -> bool:
    """Whether nothing in a list can change; pairs of such values cannot either."""
    values = list(values)
    found = set(map(type, values))
    if found <= kinds.FIXED:
        return True
    if found - kinds.FIXED != {tuple}:
        return False
    pairs = (
        values if len(found) == 1 else [each for each in values if type(each) is tuple]
    )
    return set(map(type, chain.from_iterable(pairs))) <= kinds.FIXED


def _has_grown(before: list[Any], now: list[Any]) -> bool:
    return len(before) < len(now) and all(map(operator.is_, before, now))
