"""Name what changed in a module: every tensor, attribute and random stream."""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

_ATOMS = (str, bytes, int, float, complex, bool, type(None))
_OPAQUE = (
    FunctionType,
    MethodType,
    ModuleType,
    RemovableHandle,
    type,
    torch.device,
    torch.dtype,
)
_FOREIGN = ("pytorch_lightning", "lightning", "lightning_fabric", "torch.utils.data")


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

    Plain objects that the module refers to are looked into as well, because
    `isolated` cannot protect them: this is how it is found out.

    Examples:
        >>> norm = nn.BatchNorm1d(2)
        >>> before = snapshot(norm)
        >>> _ = norm(torch.ones(4, 2))
        >>> before.changes(snapshot(norm))
        ['running_mean', 'running_var', 'num_batches_tracked']
    """
    values = dict(_Walk().value("", module))
    values["the random state of torch"] = torch.get_rng_state()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        values["the random state of the GPU"] = torch.cuda.get_rng_state()
    values["the random state of random"] = random.getstate()
    values["the random state of numpy"] = tuple(np.random.get_state())
    return Snapshot(values)


class _Walk:
    """Visits everything that a module refers to, each object once."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        # Keeps what was visited alive, so that no identity is given twice.
        self._kept: list[Any] = []

    def value(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, _ATOMS):
            yield path, value
        elif isinstance(value, Tensor):
            yield path, "no shape" if is_lazy(value) else value.detach().clone()
        elif isinstance(value, np.ndarray):
            yield path, value.copy()
        elif isinstance(value, torch.Generator):
            yield path, value.get_state()
        elif isinstance(value, np.random.Generator):
            yield path, str(value.bit_generator.state)
        elif isinstance(value, np.random.RandomState):
            yield path, tuple(value.get_state())
        elif isinstance(value, random.Random):
            yield path, value.getstate()
        elif isinstance(value, Iterator):
            yield f"{path} (position)", _position(value)
        elif not _opaque(value) and id(value) not in self._seen:
            self._seen.add(id(value))
            self._kept.append(value)
            yield from self._inside(path, value)

    def _inside(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, nn.Module):
            yield from self._module(path, value)
        elif isinstance(value, Mapping):
            yield f"{path} (length)", len(value)
            for key, item in value.items():
                yield from self.value(f"{path}[{key!r}]", item)
        elif isinstance(value, Set):
            yield f"{path} (length)", len(value)
            # Two sets with the same items may list them in different orders.
            plain = [item for item in value if isinstance(item, _ATOMS)]
            yield f"{path} (items)", frozenset((type(item), item) for item in plain)
            others = [item for item in value if not isinstance(item, _ATOMS)]
            for index, item in enumerate(others):
                yield from self.value(f"{path}[{index}]", item)
        elif isinstance(value, Sequence):
            yield f"{path} (length)", len(value)
            for index, item in enumerate(value):
                yield from self.value(f"{path}[{index}]", item)
        else:
            for name, item in getattr(value, "__dict__", {}).items():
                yield from self.value(f"{path}.{name}", item)

    def _module(self, path: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
        prefix = f"{path}." if path else ""
        for name, item in module.__dict__.items():
            if name in ("_parameters", "_buffers", "_modules"):
                for key, inner in item.items():
                    yield from self.value(f"{prefix}{key}", inner)
            elif name.endswith("_hooks"):
                # Their keys count all hooks of the process.
                yield from self.value(f"{prefix}{name}", list(item.values()))
            else:
                yield from self.value(f"{prefix}{name}", item)


def _position(value: Iterator[Any]) -> str:
    """Where an iterator or generator stands, as far as can be told."""
    if isinstance(value, Generator):
        frame = getattr(value, "gi_frame", None)
        if frame is None:
            return "exhausted"
        values = [each for each in frame.f_locals.values() if isinstance(each, _ATOMS)]
        return f"{frame.f_lasti} {values}"
    if isinstance(value, itertools.count):
        return repr(value)
    hint = getattr(value, "__length_hint__", None)
    return f"{hint()} left" if hint is not None else "unknown"


def _opaque(value: Any) -> bool:
    """Code, and the trainer and loaders that a module may refer to."""
    if isinstance(value, _OPAQUE):
        return True
    return not isinstance(value, nn.Module) and type(value).__module__.startswith(
        _FOREIGN
    )


def _same(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        return (
            first.shape == second.shape
            and first.dtype == second.dtype
            and torch.equal(first.nan_to_num(), second.nan_to_num())
        )
    if isinstance(first, np.ndarray):
        return bool(np.array_equal(first, second))
    if isinstance(first, tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(_same(a, b) for a, b in pairs)
    return bool(first == second or (first != first and second != second))
