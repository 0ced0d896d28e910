"""What a function reads from around it: tensors of the batch, and all else.

Work that is recorded once and repeated on other batches gets new tensors, and has to be
recorded again where all else is not the same.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from lightly_adv.training.python_state import (
    CONSTANTS,
    UnknownStateError,
    globals_of,
    state_of,
)

_FIXED = (types.BuiltinFunctionType, types.ModuleType, type)


class Closure:
    """The tensors behind a function, and a key for the rest.

    Found are those in its closure, its defaults, and the containers and functions in
    them. Modules count as what they are: their parameters and buffers are written in
    place, see `state_of`.

    Args:
        function: A function or method, or a `partial` of one.

    Raises:
        UnknownStateError: If it reads an object of another kind, a global tensor, or
            more than can be compared.

    Examples:
        >>> import torch
        >>> def closure(target, weight):
        ...     return Closure(lambda views: weight * (views[0] - target).sum())
        >>> one, other = closure(torch.zeros(2), 1), closure(torch.ones(2), 1)
        >>> one.key == other.key, one.key == closure(torch.ones(2), 3).key
        (True, False)
        >>> other.tensors
        [tensor([1., 1.])]
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.tensors: list[Tensor] = []
        self._seen: dict[int, int] = {}
        self._function = function
        self.key = self._described(function)

    @contextmanager
    def reading(self, tensors: Sequence[Tensor]) -> Iterator[Callable[..., Any]]:
        """Give a function that reads other tensors in the place of these.

        Args:
            tensors: As many as there are.

        Examples:
            >>> import torch
            >>> def closure(target):
            ...     return Closure(lambda: target + 1)
            >>> with closure(torch.zeros(2)).reading([torch.ones(2)]) as function:
            ...     print(function())
            tensor([2., 2.])
        """
        with ExitStack() as stack:
            yield _Exchange(tensors, stack).of(self._function)

    def _described(self, value: Any) -> Any:
        kind = type(value)
        if value is None or isinstance(value, CONSTANTS):
            return kind, value
        if isinstance(value, _FIXED):
            return kind, id(value)
        if id(value) in self._seen:
            return "again", self._seen[id(value)]
        self._seen[id(value)] = len(self._seen)
        if isinstance(value, nn.Module):
            return kind, id(value), state_of(value)
        if isinstance(value, Tensor):
            self.tensors.append(value)
            return kind, value.shape, value.stride(), value.dtype, value.device
        if isinstance(value, types.FunctionType):
            return kind, globals_of(value), *self._parts(value)
        return kind, *self._parts(value)

    def _parts(self, value: Any) -> Iterator[Any]:
        """Yield descriptions of what an object is made of."""
        parts = _parts(value)
        before = len(self.tensors)
        if parts is not None:
            yield from [self._described(each) for each in parts]
        # Objects cannot be rebuilt with other tensors, as containers can.
        rigid = dataclasses.is_dataclass(value) or isinstance(value, types.MethodType)
        if parts is None or (rigid and len(self.tensors) > before):
            raise UnknownStateError(
                f"the loss reads a {type(value).__name__}, of which it is not known "
                "whether it is the same in each batch; expected tensors, numbers, "
                "modules, functions, and containers of these."
            )


def _parts(value: Any) -> Sequence[Any] | None:
    """Return what an object is made of, None where that is not known."""
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [id(value.__code__), *cells, value.__defaults__, value.__kwdefaults__]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if type(value) in (list, tuple):
        return list(value)
    if type(value) is dict:
        return [*value, *value.values()]
    if dataclasses.is_dataclass(value):
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    return None


class _Exchange:
    """Puts other tensors in the place of those that `Closure` finds, in that order."""

    def __init__(self, tensors: Sequence[Tensor], stack: ExitStack) -> None:
        self._rest = iter(tensors)
        self._stack = stack
        self._new: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """Return the same object with other tensors."""
        if id(value) not in self._new:
            # A function that reads itself finds itself here.
            self._new[id(value)] = value
            self._new[id(value)] = self._exchanged(value)
        return self._new[id(value)]

    def _exchanged(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return next(self._rest)
        if isinstance(value, types.FunctionType):
            self._rebind(value)
        elif isinstance(value, functools.partial):
            function, args, named = (
                self.of(each) for each in (value.func, value.args, value.keywords)
            )
            return functools.partial(function, *args, **named)
        elif isinstance(value, types.MethodType):
            self.of(value.__func__)
        elif type(value) in (list, tuple):
            return type(value)([self.of(each) for each in value])
        elif type(value) is dict:
            return {key: self.of(each) for key, each in value.items()}
        return value

    def _rebind(self, function: types.FunctionType) -> None:
        """Change what a function reads, until the stack is left."""
        for cell in function.__closure__ or ():
            self._set(cell, "cell_contents")
        for name in ("__defaults__", "__kwdefaults__"):
            self._set(function, name)

    def _set(self, owner: Any, name: str) -> None:
        old = getattr(owner, name)
        new = self.of(old)
        if new is not old:
            self._stack.callback(setattr, owner, name, old)
            setattr(owner, name, new)
