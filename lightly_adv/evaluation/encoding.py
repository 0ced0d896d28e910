"""Dataclasses as JSON, and back by the types of their fields."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import torch
from torch import Tensor

Flags: TypeAlias = Annotated[Tensor, torch.bool]
"""A tensor of bools, written as lists of 0 and 1."""

Numbers: TypeAlias = Annotated[Tensor, torch.float64]
"""A tensor of numbers that need not be whole."""

Integers: TypeAlias = Annotated[Tensor, torch.int64]
"""A tensor of whole numbers."""

Values: TypeAlias = Annotated[Tensor, None]
"""A tensor of whole numbers if all of them are written as such, else of others."""


def encode(value: Any) -> Any:
    """Return a value ready for JSON; of dataclasses the fields that are compared.

    Examples:
        >>> encode({"flags": torch.tensor([True, False]), "size": (32, 32)})
        {'flags': [1, 0], 'size': [32, 32]}
    """
    if isinstance(value, Tensor):
        return (value.int() if value.dtype == torch.bool else value).tolist()
    if dataclasses.is_dataclass(value):
        written = (each.name for each in dataclasses.fields(value) if each.compare)
        return {name: encode(getattr(value, name)) for name in written}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def decode(kind: Any, part: Any, where: str = "") -> Any:
    """Return the value of which `encode` has made a part of JSON.

    Args:
        kind: Type of the value: of text, numbers, tensors as above, lists, tuples,
            mappings from text, literals, dataclasses, or one of these or None.
        part: The part.
        where: Name of the part, for messages.

    Raises:
        ValueError: If the part is something else; with the field.

    Examples:
        >>> decode(dict[str, Flags], {"pgd": [1, 0]}, "flags")
        {'pgd': tensor([ True, False])}
        >>> decode(tuple[int, int], [32], "size")
        Traceback (most recent call last):
        ...
        ValueError: size is [32], expected a list of 2
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _tensor(part, arguments[1], where)
    if origin in (Union, UnionType):
        (inner,) = (each for each in arguments if each is not NoneType)
        return None if part is None else decode(inner, part, where)
    if origin is Literal:
        _check(part in arguments, part, where, f"one of {', '.join(arguments)}")
        return part
    if dataclasses.is_dataclass(kind):
        return _object(kind, part, where)
    if origin is not None and issubclass(origin, Mapping):
        _check(isinstance(part, dict), part, where, "an object")
        items = part.items()
        return {key: decode(arguments[1], x, f"{where}.{key}") for key, x in items}
    if origin is not None:
        return _list(origin, arguments, part, where)
    _check(kind is Any or _is_plain(part, kind), part, where, _PLAIN.get(kind, ""))
    return part


_hints = functools.cache(functools.partial(get_type_hints, include_extras=True))

_PLAIN = {
    str: "a text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
}


def _is_plain(part: Any, kind: type) -> bool:
    return type(part) is kind or (kind is float and type(part) is int)


def _check(fits: bool, part: Any, where: str, expected: str) -> None:
    if not fits:
        raise ValueError(f"{where} is {reprlib.repr(part)}, expected {expected}")


def _object(kind: Any, part: Any, where: str) -> Any:
    _check(isinstance(part, dict), part, where, "an object")
    hints = _hints(kind)
    values = {
        each.name: decode(
            hints[each.name], part.get(each.name), f"{where}.{each.name}".lstrip(".")
        )
        for each in dataclasses.fields(kind)
        if each.init and each.compare
    }
    try:
        return kind(**values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _list(origin: type, arguments: tuple[Any, ...], part: Any, where: str) -> Any:
    _check(isinstance(part, list), part, where, "a list")
    kinds = [arguments[0]] * len(part)
    if origin is tuple and arguments[1:] != (...,):
        _check(len(part) == len(arguments), part, where, f"a list of {len(arguments)}")
        kinds = list(arguments)
    items = [
        decode(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, part, strict=True))
    ]
    return items if origin is list else tuple(items)


def _tensor(part: Any, dtype: torch.dtype | None, where: str) -> Tensor:
    words: dict[Any, str] = {torch.bool: "0 and 1", torch.int64: "integers"}
    try:
        found = torch.tensor(part)
        if found.is_floating_point():
            found = torch.tensor(part, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = torch.tensor(False)
    fits = found.dim() > 0 and found.dtype != torch.bool
    if dtype == torch.bool:
        fits = fits and bool(((found == 0) | (found == 1)).all())
    elif dtype == torch.int64 and found.numel():
        fits = fits and not found.is_floating_point()
    _check(fits, part, where, f"a list of {words.get(dtype, 'numbers')}")
    return found if dtype is None else found.to(dtype)
