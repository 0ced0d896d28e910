"""The Python values that modules and functions read: numbers, flags and containers.

Work that is recorded once and repeated does not see them change, so descriptions of
them are compared before each repetition.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import itertools
import sys
import types
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CONSTANTS = (
    *(bool, int, float, complex, str, bytes, np.generic),
    *(torch.dtype, torch.device),
)
DEPTH = 3
"""How deep containers and objects may be nested."""

ENTRIES = 1000
"""How many values an attribute or a global variable may hold."""

_INTERNAL = frozenset(vars(nn.Module())) - {"training"}
_SEQUENCES = (list, tuple, deque, set, frozenset)
_OPEN = (types.SimpleNamespace, Namespace)
_LIBRARIES = sys.stdlib_module_names | {
    *("torch", "torchmetrics", "torchvision", "numpy", "lightly_adv"),
    *("lightning", "lightning_fabric", "pytorch_lightning"),
}
"""What objects of these hold is not looked at, only which of them they are."""


class UnknownStateError(TypeError):
    """A function reads something of which it is not known whether it changes."""


def state_of(module: nn.Module) -> tuple[Any, ...]:
    """Describe where the tensors of a module are, and its Python values.

    Values are those in attributes, and in containers and plain objects there.

    Raises:
        UnknownStateError: If an attribute holds too many values, or nests them too
            deep.

    Examples:
        >>> module = nn.Linear(2, 1)
        >>> module.options = {"sign": 1}
        >>> before = state_of(module)
        >>> with torch.no_grad():
        ...     _ = module.weight.zero_()
        >>> state_of(module) == before, state_of(module.eval()) == before
        (True, False)
        >>> _, module.options["sign"] = module.train(), -1
        >>> state_of(module) == before
        False
    """
    return _Description().of_module(module)


def globals_of(function: types.FunctionType) -> tuple[Any, ...]:
    """Describe the global variables that a function reads itself.

    Functions, modules of Python and classes among them count as what they are; what
    these read is not looked at.

    Raises:
        UnknownStateError: If one of them is a tensor, or as in `state_of`.
    """
    description = _Description()
    found = []
    for name in _global_names(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, Tensor):
            raise UnknownStateError(
                f"the global variable {name} is a tensor, which may be another one in "
                "each batch; let the loss read it from a closure or a buffer"
            )
        found.append(description.named(f"the global variable {name}", value))
    return tuple(found)


class _Description:
    """Describes values by what compares equal as long as they are the same.

    What was seen before, also in a loop, is described by its number.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other object gets their id
        self._left = ENTRIES
        self._name = ""

    def of_module(self, module: nn.Module) -> tuple[Any, ...]:
        parts = [part for part in module.modules() if id(part) not in self._seen]
        for part in parts:
            self._seen[id(part)] = len(self._seen)
        return tuple(item for part in parts for item in self._of_part(part))

    def named(self, name: str, value: Any) -> Any:
        """Describe an attribute or a global variable."""
        outer = self._left, self._name
        self._left, self._name = ENTRIES, name
        found = self._of(value, DEPTH)
        self._left, self._name = outer
        return found

    def _of_part(self, part: nn.Module) -> Iterator[Any]:
        yield type(part)
        for tensor in itertools.chain(
            part._parameters.values(), part._buffers.values()
        ):
            yield None if tensor is None else _address(tensor)
        for name, value in vars(part).items():
            if name not in _INTERNAL:
                yield self.named(
                    f"the attribute {name} of {type(part).__name__}", value
                )

    def _of(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or isinstance(value, CONSTANTS):
            return kind, value
        if isinstance(value, Tensor):
            return _address(value)
        if id(value) in self._seen:
            return "again", self._seen[id(value)]
        if isinstance(value, nn.Module):
            return self.of_module(value)
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        parts = _parts(value)
        if parts is None:
            return kind, id(value)
        return kind, *[self._of(each, depth - 1) for each in self._few(parts, depth)]

    def _few(self, parts: Iterable[Any], depth: int) -> list[Any]:
        """Return what an object is made of, unless that is too much."""
        few = list(itertools.islice(parts, self._left + 1))
        self._left -= len(few)
        if self._left < 0 or (few and depth == 0):
            limit = f"{ENTRIES} values" if self._left < 0 else f"{DEPTH} levels"
            raise UnknownStateError(
                f"{self._name} holds more than {limit}, and it is not known whether "
                "they are the same in each batch; keep them elsewhere"
            )
        return few


def _parts(value: Any) -> Iterable[Any] | None:
    """Return what an object is made of, None where only its identity counts."""
    if isinstance(value, Mapping):
        return itertools.chain.from_iterable(value.items())
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, _SEQUENCES):
        return value
    if isinstance(value, np.ndarray):
        return itertools.chain([value.shape], value.flat)
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, type) or not (isinstance(value, _OPEN) or _is_plain(value)):
        return None
    if dataclasses.is_dataclass(value):
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    return itertools.chain.from_iterable(vars(value).items())


def _is_plain(value: Any) -> bool:
    library = type(value).__module__.partition(".")[0]
    has_fields = hasattr(value, "__dict__") or dataclasses.is_dataclass(value)
    return has_fields and library not in _LIBRARIES


def _address(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


@functools.lru_cache(maxsize=256)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the global names that code reads, and functions written inside of it."""
    names = [
        each.argval
        for each in dis.get_instructions(code)
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    ]
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return tuple(
        dict.fromkeys(
            [*names, *(name for each in inner for name in _global_names(each))]
        )
    )
