"""Name what changed in a module: every tensor, attribute and random stream."""

from __future__ import annotations

import functools
import itertools
import random
import warnings
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightly_adv.isolation import copying, kinds, states


@dataclass(frozen=True)
class Snapshot:
    """The state of a module and of the random streams at one moment."""

    values: dict[str, Any]

    def changes(self, later: Snapshot) -> list[str]:
        """Names of what differs in a later snapshot, in order of appearance."""
        names = {**self.values, **later.values}
        return [
            name
            for name in names
            if not _same(self.values.get(name), later.values.get(name))
        ]


def snapshot(module: nn.Module) -> Snapshot:
    """Copy the state that a training step could change.

    Besides what `isolated` sets aside, this is what lies around it: optimizers and
    schedulers of the trainer with their state, where generators and data loaders
    stand, and globals that the classes of the module use. This is how we find out
    what cannot be set aside.

    Examples:
        >>> norm = nn.BatchNorm1d(2)
        >>> before = snapshot(norm)
        >>> _ = norm(torch.ones(4, 2))
        >>> before.changes(snapshot(norm))
        ['running_mean', 'running_var', 'num_batches_tracked']
    """
    walk = _Walk()
    values = dict(walk.value("", module))
    for name, item in [*_outside(module), *_globals(type(module))]:
        values.update(walk.value(name, item))
    values["the random state of torch"] = torch.get_rng_state()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        values["the random state of the GPU"] = torch.cuda.get_rng_state()
    values["the random state of random"] = random.getstate()
    values["the random state of numpy"] = tuple(np.random.get_state())
    return Snapshot({name.removeprefix("."): value for name, value in values.items()})


class _Walk:
    """Visits everything that a module refers to, each object once."""

    def __init__(self) -> None:
        # Keeps what was visited alive, so that no identity is given twice.
        self._seen: dict[int, Any] = {}

    def value(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if type(value) in kinds.FIXED or isinstance(value, type):
            if type(value) in kinds.ATOMS:
                yield path, value
        elif isinstance(value, Tensor):
            yield (
                path,
                "no shape" if is_lazy(value) else copying.copied_tensor(value.detach()),
            )
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield path, value.copy()
        elif kinds.is_built_in_iterator(value):
            yield f"{path} (position)", _position(value)
        elif id(value) not in self._seen:
            self._seen[id(value)] = value
            yield from self._once(path, value)

    def _once(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        state = states.state_of(value)
        if state is not None:
            yield path, state.read()
        elif hasattr(value, "_num_yielded"):  # of a data loader
            yield f"{path} (position)", value._num_yielded
        else:
            for name, part in _parts(value):
                yield from self.value(f"{path}{name}", part)
            for base, data in kinds.class_attributes(type(value)):
                if self._seen.setdefault(id(base), value) is value:
                    for name, item in data.items():
                        name = f"{base.__name__}.{name} (of the class)"
                        yield from self.value(name, item)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object refers to, each with the end of its name."""
    if isinstance(value, FunctionType | MethodType | functools.partial):
        for index, cell in enumerate(kinds.cells_of(value)):
            yield f" (closure {index})", _content(cell)
        if isinstance(value, functools.partial):
            yield " (partial)", [value.func, value.args, value.keywords]
        else:
            yield "", getattr(value, "__self__", None)
    elif isinstance(value, nn.Module):
        yield from _parts_of_module(value)
    elif isinstance(value, np.ndarray):
        yield "", value.tolist()
    elif isinstance(value, Collection | torch.optim.Optimizer) or (
        kinds.is_plain_object(value)
    ):
        yield from _items(value)
        for name, item in getattr(value, "__dict__", {}).items():
            yield f".{name}", item
        for name in kinds.slots_of(type(value)):
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """The items of a container, and how many there are."""
    if isinstance(value, Mapping | Set | Sequence):
        yield " (length)", len(value)
    if isinstance(value, Mapping):
        for index, (key, item) in enumerate(value.items()):
            # Parameters are keys in optimizers, and are no names.
            name = repr(key) if type(key) in kinds.FIXED else f"key {index}"
            yield f"[{name}]", item
    elif isinstance(value, Set):
        # Two sets with the same items may list them in different orders.
        plain = [item for item in value if type(item) in kinds.ATOMS]
        yield " (items)", frozenset((type(item), item) for item in plain)
        value = [item for item in value if type(item) not in kinds.ATOMS]
    if isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield f"[{index}]", item


def _parts_of_module(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, item in module.__dict__.items():
        if name in ("_parameters", "_buffers", "_modules"):
            for key, inner in item.items():
                yield f".{key}", inner
        elif name.endswith("_hooks"):
            # Their keys count all hooks of the process.
            yield f".{name}", list(item.values())
        else:
            yield f".{name}", item


def _outside(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Optimizers and schedulers of the trainer that a module is attached to."""
    optimizers = 0
    for index, item in enumerate(kinds.trainer_state(module)):
        is_optimizer = isinstance(item, torch.optim.Optimizer)
        optimizers += is_optimizer
        name = (
            f"optimizer {index}" if is_optimizer else f"scheduler {index - optimizers}"
        )
        yield f"the {name} of the trainer", item


def _globals(kind: type) -> Iterator[tuple[str, Any]]:
    """Data outside of all functions that the methods of a class refer to."""
    for base in kind.__mro__:
        if not kinds.is_own_class(base):
            continue
        for function in vars(base).values():
            if isinstance(function, FunctionType):
                for name in _names(function.__code__):
                    if name in function.__globals__:
                        value = function.__globals__[name]
                        if not callable(value):
                            yield f"the global {name}", value


def _names(code: CodeType) -> set[str]:
    """Names that a function refers to, and those that are defined in it."""
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _position(value: Iterator[Any]) -> str:
    """Where an iterator or generator stands, as far as can be told."""
    if isinstance(value, Generator):
        frame = getattr(value, "gi_frame", None)
        if frame is None:
            return "exhausted"
        values = [item for item in frame.f_locals.values() if type(item) in kinds.ATOMS]
        return f"{frame.f_lasti} {values}"
    if isinstance(value, itertools.count):
        return repr(value)
    hint = getattr(value, "__length_hint__", None)
    if hint is not None:
        return f"{hint()} left"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            groups: Any = value.__reduce__()[1:]
    except TypeError:
        return "unknown"
    parts = [
        part
        for group in groups
        for part in (group if type(group) is tuple else [group])
    ]
    return ", ".join(
        _position(part) if isinstance(part, Iterator) else repr(part)
        for part in parts
        if isinstance(part, Iterator) or type(part) in kinds.ATOMS
    )


def _same(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        return _same_tensors(first, second)
    if isinstance(first, np.ndarray):
        facts = [(x.shape, x.dtype, x.tobytes()) for x in (first, second)]
        return bool(facts[0] == facts[1])
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            _same(first[key], second[key]) for key in first
        )
    return bool(first == second or (first != first and second != second))


def _same_tensors(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of any kind are equal, where NaN equals NaN."""
    if first.layout != second.layout or first.dtype != second.dtype:
        return False
    if first.is_nested:
        return _same(first.unbind(), second.unbind())
    if first.shape != second.shape or first.device.type == "meta":
        return first.shape == second.shape
    if first.layout is not torch.strided:
        return _same(_dense(first), _dense(second))
    if first.is_quantized or type(first) is not Tensor:
        return torch.equal(first, second)
    # Bits, for not every kind of number can be compared.
    bits = [x.contiguous().view(-1).view(torch.uint8) for x in (first, second)]
    return torch.equal(*bits) or _equal_numbers(first, second)


def _equal_numbers(first: Tensor, second: Tensor) -> bool:
    """Whether numbers are equal that differ in bits, such as two kinds of NaN."""
    if not (first.is_floating_point() or first.is_complex()) or first.itemsize == 1:
        return False
    return torch.equal(first.nan_to_num(), second.nan_to_num())


def _dense(value: Tensor) -> list[Tensor]:
    """The dense tensors that a sparse one consists of."""
    if value.layout is torch.sparse_coo:
        value = value.coalesce()
        return [value.indices(), value.values()]
    if value.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [value.crow_indices(), value.col_indices(), value.values()]
    if value.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [value.ccol_indices(), value.row_indices(), value.values()]
    return [value.to_dense()]
