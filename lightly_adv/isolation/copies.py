"""Stand-ins for the tensors and containers that a module holds."""

from __future__ import annotations

import copy
import itertools
import random
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lightly_adv.isolation.attached import attached

_RANDOM_SOURCES = (random.Random, np.random.Generator, np.random.RandomState)


class Copier:
    """Copies attribute values; one object is copied once, so that ties stay ties.

    Tensors get storage from a pool that outlives the copier, and are filled all at
    once by `fill`: allocating and copying one by one costs several times more.

    Args:
        pool: Storage to reuse, by the identity and layout of what it stands for.
        differentiable: Let parameters stay in the graph, see `Attached`.
        keep: Tensors that stand for themselves.
        found: Called with every module met on the way; modules are not copied.
    """

    def __init__(
        self,
        *,
        pool: dict[Any, Tensor],
        differentiable: bool,
        keep: Iterable[Tensor],
        found: Callable[[nn.Module], None],
    ) -> None:
        self.used: dict[Any, Tensor] = {}
        self._pool = pool
        self._differentiable = differentiable
        self._found = found
        self._memo: dict[int, Any] = {id(each): each for each in keep}
        self._sources: list[Tensor] = []
        self._targets: list[Tensor] = []

    def fill(self) -> None:
        """Copy the values of all tensors into their stand-ins."""
        if self._targets:
            with torch.no_grad():
                torch._foreach_copy_(self._targets, self._sources)

    def __call__(self, value: Any) -> Any:
        """Return a stand-in for a value; what needs none comes back as it is."""
        make = _MAKERS.get(type(value)) or _subclass_maker(value)
        if make is None:
            return value
        key = id(value)
        if key not in self._memo:
            self._memo[key] = make(self, value)
        return self._memo[key]

    def tensor(self, value: Tensor) -> Tensor:
        """Return a detached stand-in, or one attached to the graph where asked."""
        if isinstance(value, UninitializedParameter | UninitializedBuffer):
            raise ValueError(
                "the module holds a lazy parameter or buffer that has no shape yet; "
                "run one forward pass before it is attacked."
            )
        if self._differentiable and isinstance(value, nn.Parameter):
            return attached(value)
        key = (id(value), value.shape, value.stride(), value.dtype, value.device)
        storage = self._pool.get(key)
        if storage is None:
            storage = torch.empty_like(value, requires_grad=False).detach()
        self.used[key] = storage
        self._sources.append(value.detach())
        self._targets.append(storage)
        # A fresh alias: what is done to it, as in `p.data = ...`, leaves the pool.
        alias = storage.detach()
        if isinstance(value, nn.Parameter):
            return nn.Parameter(alias, requires_grad=False)
        return alias

    def module(self, value: nn.Module) -> nn.Module:
        """Report a module; its attributes are replaced in place."""
        self._found(value)
        return value

    def list(self, value: Any) -> Any:
        """Copy a list or deque."""
        empty = copy.copy(value)
        empty.clear()
        self._memo[id(value)] = empty
        empty.extend(self(item) for item in value)
        return empty

    def dict(self, value: Any) -> Any:
        """Copy a dict of any built-in kind."""
        empty = copy.copy(value)
        empty.clear()
        self._memo[id(value)] = empty
        for key, item in value.items():
            empty[key] = self(item)
        return empty

    def tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Copy a tuple, with or without names."""
        make = getattr(type(value), "_make", tuple)
        copied: tuple[Any, ...] = make([self(item) for item in value])
        return copied

    def set(self, value: set[Any]) -> set[Any]:
        """Copy a set; its items are hashable and taken as they are."""
        return set(value)

    def iterator(self, value: Iterator[Any]) -> Iterator[Any]:
        """Copy an iterator with its position; its items are taken as they are."""
        return copy.copy(value)

    def count(self, value: itertools.count[Any]) -> itertools.count[Any]:
        """Copy a counter with its position, of which only its text tells."""
        numbers = re.findall(r"[^(), ]+", repr(value))[1:]
        try:
            return itertools.count(*map(int, numbers))
        except ValueError:  # not of integers
            return value

    def generator(self, value: torch.Generator) -> torch.Generator:
        """Copy a torch generator with its state."""
        twin = torch.Generator(device=value.device)
        twin.set_state(value.get_state())
        return twin

    def deep(self, value: Any) -> Any:
        """Copy an array or another source of random numbers."""
        return copy.deepcopy(value)


def _subclass_maker(value: Any) -> Callable[[Copier, Any], Any] | None:
    if isinstance(value, Tensor):
        return Copier.tensor
    if isinstance(value, nn.Module):
        return Copier.module
    if isinstance(value, _RANDOM_SOURCES):
        return Copier.deep
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return Copier.tuple
    return None


_MAKERS: dict[type, Callable[[Copier, Any], Any]] = {
    Tensor: Copier.tensor,
    nn.Parameter: Copier.tensor,
    list: Copier.list,
    deque: Copier.list,
    dict: Copier.dict,
    OrderedDict: Copier.dict,
    defaultdict: Copier.dict,
    Counter: Copier.dict,
    tuple: Copier.tuple,
    set: Copier.set,
    type(iter([])): Copier.iterator,
    type(iter(())): Copier.iterator,
    type(iter(range(0))): Copier.iterator,
    itertools.count: Copier.count,
    np.ndarray: Copier.deep,
    torch.Generator: Copier.generator,
}
