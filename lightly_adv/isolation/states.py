"""State that is read and written in place: random sources and shared memory."""

from __future__ import annotations

import array
import ctypes
import queue
import random
from collections.abc import Callable
from multiprocessing import managers, shared_memory, sharedctypes
from typing import Any, NamedTuple

import numpy as np
import torch


class State(NamedTuple):
    """How the state of an object is read, as a plain value, and put back."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


def state_of(value: Any) -> State | None:
    """Return how to set the state of an object aside, or None for other objects.

    Examples:
        >>> source = random.Random(1)
        >>> state = state_of(source)
        >>> before = state.read()
        >>> first = source.random()
        >>> state.write(before)
        >>> source.random() == first
        True
    """
    if isinstance(value, sharedctypes.SynchronizedBase):
        value = value.get_obj()
    return random_state(value) or _of_kind(value, _CONTENTS)


def random_state(value: Any) -> State | None:
    """Return how to set a source of random numbers aside, or None for other objects."""
    return _of_kind(value, _SOURCES)


def _of_kind(
    value: Any, makers: dict[type, Callable[[Any], State | None]]
) -> State | None:
    return next(
        (make(value) for kind, make in makers.items() if isinstance(value, kind)), None
    )


def _memory(value: Any) -> State | None:
    """Read and write a C object, such as that of a `multiprocessing.Value`."""
    if isinstance(value, ctypes.py_object):
        return None
    address, size = ctypes.addressof(value), ctypes.sizeof(value)
    return State(
        lambda: ctypes.string_at(address, size),
        lambda saved: ctypes.memmove(address, saved, size),
    )


def _block(value: Any) -> State:
    return State(lambda: bytes(value.buf), lambda saved: _fill(value.buf, saved))


def _numpy(value: np.random.Generator) -> State:
    source = value.bit_generator
    return State(lambda: source.state, lambda saved: setattr(source, "state", saved))


def _python(value: random.Random) -> State | None:
    if isinstance(value, random.SystemRandom):
        return None  # the system draws, and cannot be asked to do so again
    return State(value.getstate, value.setstate)


def _items(value: Any) -> State:
    return State(lambda: value[:], lambda saved: _fill(value, saved))


def _mapping(value: Any) -> State:
    def write(saved: Any) -> None:
        value.clear()
        value.update(saved)

    return State(value.copy, write)


def _queue(value: queue.Queue[Any]) -> State | None:
    waiting = (value.not_empty, value.not_full, value.all_tasks_done)
    if any(getattr(condition, "_waiters", ()) for condition in waiting):
        return None  # another thread is using it

    def write(saved: Any) -> None:
        items, value.unfinished_tasks = saved
        value.queue.clear()
        value.queue.extend(items)

    return State(lambda: (list(value.queue), value.unfinished_tasks), write)


def _fill(target: Any, saved: Any) -> None:
    target[:] = saved


_SOURCES: dict[type, Callable[[Any], State | None]] = {
    random.Random: _python,
    np.random.Generator: _numpy,
    np.random.RandomState: lambda source: State(source.get_state, source.set_state),
    torch.Generator: lambda source: State(source.get_state, source.set_state),
}
_CONTENTS: dict[type, Callable[[Any], State | None]] = {
    **dict.fromkeys(
        (ctypes._SimpleCData, ctypes.Array, ctypes.Structure, ctypes.Union), _memory
    ),
    shared_memory.SharedMemory: _block,
    array.array: _items,
    bytearray: _items,
    queue.Queue: _queue,
    managers.ListProxy: _items,
    managers.DictProxy: _mapping,
    managers.ValueProxy: lambda proxy: State(proxy.get, proxy.set),
}
