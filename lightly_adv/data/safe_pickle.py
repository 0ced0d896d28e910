"""Pickles that hold numpy arrays, read without running code.

`pickle.load` imports and calls whatever a file names, so that a file can do anything.
Here the only names are those that arrays are pickled with, and even they do not stand
for numpy's own functions but for what is below: it keeps bytes, shapes and a few
dtypes, and numpy sees these only when they have been checked.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")


class ForbiddenNameError(pickle.UnpicklingError):
    """A pickle asks for something that no array consists of."""


def load(path: str | os.PathLike[str]) -> Any:
    """Return what a pickle holds: containers, numbers, texts, bytes and arrays.

    Arrays in dicts, lists and tuples come back as read-only numpy arrays. Pickles of
    Python 2 are read, too; their texts are taken as Latin-1.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no pickle, is cut short, or asks for anything else.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(f"{folder}/batch", "wb") as file:
        ...         pickle.dump({"data": np.arange(3), "labels": [1, 2]}, file)
        ...     load(f"{folder}/batch")
        {'data': array([0, 1, 2]), 'labels': [1, 2]}
    """
    with open(path, "rb") as file:
        try:
            return _finished(_Unpickler(file).load())
        except ForbiddenNameError as error:
            raise ValueError(
                f"{os.fspath(path)} asks for {error}, which is no part of an array; "
                "such files can run code, so it was not read. Get the data from where "
                "they were published."
            ) from error
        except Exception as error:  # broken pickles raise whatever they like
            raise ValueError(
                f"{os.fspath(path)} is not a pickle of arrays, or is damaged "
                f"({type(error).__name__}: {error}). Get it again."
            ) from error


class _Dtype:
    """Stands in for `numpy.dtype`: one of a few kinds of numbers."""

    def __init__(self, kind: str, *_: Any) -> None:
        if kind not in _DTYPES:
            raise pickle.UnpicklingError(f"arrays of dtype {kind!r} are not read")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"{order!r} is no byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for `numpy.ndarray`."""

    found: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.found = _array(raw, kind, shape, "F" if fortran else "C")


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(raw, bytes | bytearray) or not isinstance(kind, _Dtype):
        raise pickle.UnpicklingError("an array is not made of bytes and a dtype")
    array: NDArray[Any] = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _reconstruct(*_: Any) -> _Array:
    """Return an empty array, which `__setstate__` fills."""
    return _Array()


def _frombuffer(
    raw: Any, kind: Any, shape: Any, order: Any, axis_order: Any = None
) -> _Array:
    """Return an array as protocol 5 writes it."""
    if axis_order is not None:
        raise pickle.UnpicklingError("an array has its axes in another order")
    array = _Array()
    array.found = _array(raw, kind, shape, order)
    return array


def _scalar(kind: Any, raw: Any) -> Any:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return _array(raw, kind, (), "C").item()


def _encode(text: Any, encoding: Any) -> bytes:
    """Return bytes as protocols before 3 write them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes come as {encoding!r}")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what a name stands for here, whatever is installed."""
        known = _KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise ForbiddenNameError(f"{module}.{name}")
        # A new function each time: a pickle can set attributes of what it names.
        return lambda *arguments: known(*arguments)


def _finished(value: Any) -> Any:
    """Put arrays in the place of those that stand in for them."""
    if isinstance(value, _Array):
        if value.found is None:
            raise pickle.UnpicklingError("an array is empty")
        return value.found
    if isinstance(value, dict):
        return {key: _finished(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(each) for each in value)
    if value is not None and not isinstance(value, str | bytes | int | float):
        raise pickle.UnpicklingError(f"a {type(value).__name__} is no data")
    return value
