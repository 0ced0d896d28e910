"""Copies of what cannot be put back in place."""

from __future__ import annotations

import copy
import itertools
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

DEEP = 1000
"""How many objects in an array are copied with all that they hold."""

LARGE = 2**26
"""Arrays of more bytes are data."""


def copied_iterator(value: Iterator[Any]) -> Iterator[Any]:
    """Copy an iterator with its position; its items are taken as they are.

    What has no position that can be read, such as a generator, comes back as it is.

    Examples:
        >>> numbers = iter([1, 2, 3])
        >>> next(copied_iterator(numbers)), next(numbers)
        (1, 1)
    """
    if isinstance(value, itertools.count):
        return _copied_count(value)
    try:
        with warnings.catch_warnings():
            # Python 3.14 does without for those of itertools.
            warnings.simplefilter("ignore", DeprecationWarning)
            reduced: Any = value.__reduce__()
            make, arguments, *states = reduced
            twin: Iterator[Any] = make(*map(_copied_part, arguments))
            for state in states:
                twin.__setstate__(_copied_state(state))  # type: ignore[attr-defined]
    except TypeError:
        return value
    return twin


def _copied_part(value: Any) -> Any:
    return copied_iterator(value) if isinstance(value, Iterator) else value


def _copied_state(value: Any) -> Any:
    """Copy a state; `itertools.cycle` appends to the list in it."""
    if isinstance(value, tuple):
        return tuple(map(_copied_state, value))
    return list(value) if isinstance(value, list) else _copied_part(value)


def _copied_count(value: itertools.count[Any]) -> itertools.count[Any]:
    """Copy a counter with its position, of which only its text tells."""
    numbers = re.findall(r"[^(), ]+", repr(value))[1:]
    try:
        return itertools.count(*map(int, numbers))
    except ValueError:  # not of integers
        return value


def is_data(value: np.ndarray[Any, Any]) -> bool:
    """Whether an array is so large, or in a file, that it is left alone."""
    base: Any = value
    while isinstance(getattr(base, "base", None), np.ndarray):
        base = base.base
    return value.nbytes > LARGE or isinstance(base, np.memmap)


def copied_array(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Copy an array; objects in a short one are copied, too."""
    if value.dtype.hasobject and value.size <= DEEP:
        copied: np.ndarray[Any, Any] = copy.deepcopy(value)
        return copied
    twin: np.ndarray[Any, Any] = value.copy(order="K")
    return twin


def copied_tensor(value: Tensor) -> Tensor:
    """Copy a sparse, quantised or nested tensor, or one of a subclass.

    One that nobody can copy comes back as it is.
    """
    try:
        twin = value.detach().clone()
    except (RuntimeError, TypeError, NotImplementedError):
        return value
    if isinstance(value, nn.Parameter) and not isinstance(twin, nn.Parameter):
        return nn.Parameter(twin, requires_grad=False)
    return twin
