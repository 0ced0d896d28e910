"""Tensors that stand for those of a module, filled where their values moved.

A tensor in place of another shares nothing with it, so whatever is done to it stays
inside. Its memory lives on, and is filled again where something tells of a change: the
version counters, the place in memory, a sample of the values of both, and, each time
the count of evaluations has doubled, all values. What changed and was told by the
values alone (by `.data`, say, or a kernel that counts no version) is filled every time
from then on. Small tensors, buffers, and what is on an accelerator are filled every
time, and parameters once per attack whatever is told: optimizers write to them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from lightly_adv.isolation.attached import Attached, attached

SMALL = 2**16
"""Up to so many bytes a copy costs less than to find out whether it is needed."""

_PLACES, _RUN = 32, 16
"""A sample of values: so many places, and values in a row at each."""

_COMMON = frozenset(
    getattr(torch, name)
    for name in [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ]
)

_VERSION = operator.attrgetter("_version")


class StandIn:
    """What stands for one tensor.

    Args:
        target: The tensor.
    """

    def __init__(self, target: Tensor) -> None:
        if isinstance(target, UninitializedParameter | UninitializedBuffer):
            raise ValueError(
                "the module holds a lazy parameter or buffer that has no shape yet; "
                "run one forward pass before it is attacked."
            )
        self.target = target
        self.now: Any = target
        self._store: Tensor | None = None
        self._layout: tuple[Any, ...] = ()
        self._signature: tuple[int, ...] = ()
        self._samples: tuple[Tensor, Tensor] | None = None
        self._count = 0
        self._is_trusted = True
        self.is_buffer = False

    def distrust(self) -> None:
        """Fill a parameter the next time, whatever is told of it."""
        if isinstance(self.target, nn.Parameter):
            self._samples = None

    def copy_needed(self) -> tuple[Tensor, Tensor] | None:
        """Take part in an evaluation; return what to copy from where, or None."""
        target = self.target
        self._count += 1
        layout = (target.shape, target.stride(), target.dtype, target.device)
        if self._store is None or layout != self._layout:
            self._store = torch.empty_like(target, requires_grad=False).detach()
            self._layout, self._signature, self._samples = layout, (), None
        store = self._store
        # A fresh alias: what is done to it, as in `p.data = ...`, leaves the store.
        alias = store.detach()
        is_parameter = isinstance(target, nn.Parameter)
        self.now = nn.Parameter(alias, requires_grad=False) if is_parameter else alias
        return None if self._is_filled(store) else (store, target)

    def copied(self) -> None:
        """Remember that target and store are the same now."""
        target, store = self.target, self._store
        known = store is None or store.nbytes <= SMALL or self.is_buffer
        if store is None or known or not self._is_trusted:
            return
        self._is_trusted = (
            target.device.type == "cpu"
            and not target.is_inference()
            and target.stride() == store.stride()
        )
        if self._is_trusted:
            self._signature = _signature(target, store)
            self._samples = _sample(target), _sample(store)

    def separate(self) -> None:
        """Stand for the tensor in a graph that outlives the evaluation."""
        target = self.target
        if isinstance(target, nn.Parameter):
            self.now = attached(target)
        else:
            self.now = target.detach().clone()

    def _is_filled(self, store: Tensor) -> bool:
        if self._samples is None or self.is_buffer or not self._is_trusted:
            return False
        if self.target.is_inference():
            return False
        if self._signature != _signature(self.target, store):
            return False
        doubled = self._count & (self._count - 1) == 0
        pair = (self.target.detach(), store) if doubled else self._samples
        # Versions told nothing, so they will not the next time.
        self._is_trusted = torch.equal(*pair)
        return self._is_trusted


class Row:
    """What stands for many small tensors in one container, such as kept losses.

    Those that stand in are kept as long as neither they nor the tensors were written.

    Args:
        tensors: The tensors.
        before: What stood for some of them.
    """

    def __init__(self, tensors: Sequence[Tensor], before: Row | None = None) -> None:
        self.twins: dict[int, Tensor] = {}
        self._targets: list[Tensor] = []
        self._versions: list[int] = []
        self._count = 0
        if before is not None:
            self._adopt(tensors, before)
        self.take(tensors)

    def take(self, tensors: Iterable[Tensor]) -> None:
        """Stand for more tensors."""
        with torch.inference_mode(False), torch.no_grad():
            for each in tensors:
                if id(each) not in self.twins:
                    self._add(each, each.detach().clone(), each._version)

    def _adopt(self, tensors: Iterable[Tensor], before: Row) -> None:
        known = zip(before.twins.items(), before._versions, strict=True)
        found = {key: (twin, version) for (key, twin), version in known}
        for each in tensors:
            if id(each) in found and id(each) not in self.twins:
                self._add(each, *found[id(each)])

    def _add(self, target: Tensor, twin: Tensor, version: int) -> None:
        self.twins[id(target)] = twin
        self._targets.append(target)
        self._versions.append(version)

    def fill(self) -> bool:
        """Copy the values that moved; return whether another tensor stands in."""
        self._count += 1
        versions = list(map(_VERSION, self._targets))
        written = any(map(_VERSION, self.twins.values()))
        if versions == self._versions and not (written or self._differs()):
            return False
        moved = [
            target
            for target, twin in zip(self._targets, self.twins.values(), strict=True)
            if twin._version or not _equal(target, twin)
        ]
        with torch.inference_mode(False), torch.no_grad():
            self.twins.update({id(each): each.detach().clone() for each in moved})
        self._versions = versions
        return bool(moved)

    def _differs(self) -> bool:
        """Compare all values, each time the count of evaluations has doubled."""
        if self._count == 1 or self._count & (self._count - 1):
            return False
        targets, twins = self._targets, list(self.twins.values())
        if len({(each.shape, each.dtype, each.device) for each in targets}) == 1:
            return not _equal(torch.stack(targets), torch.stack(twins))
        return not all(map(_equal, targets, twins))


def fill(stand_ins: Sequence[StandIn]) -> None:
    """Copy the values of all tensors that moved into their stand-ins at once."""
    with torch.inference_mode(False), torch.no_grad():
        found = [(each, each.copy_needed()) for each in stand_ins]
        moved = [(each, pair) for each, pair in found if pair is not None]
        if moved:
            stores, targets = zip(*(pair for _, pair in moved), strict=True)
            torch._foreach_copy_(stores, [each.detach() for each in targets])
        for each, _ in moved:
            each.copied()


def is_odd(value: Tensor) -> bool:
    """Whether a tensor is something else than numbers at even distances."""
    plain = type(value) in (Tensor, nn.Parameter, Attached) and value.dtype in _COMMON
    lazy = isinstance(value, UninitializedParameter | UninitializedBuffer)
    return not lazy and (
        not plain
        or value.layout is not torch.strided
        or value.is_quantized
        or value.is_nested
    )


def fits_row(value: Any) -> bool:
    """Whether a value can be one of many in a row."""
    return (
        type(value) is Tensor
        and not is_odd(value)
        and value.nbytes <= SMALL
        and not value.is_inference()
    )


def as_tensor(value: np.ndarray[Any, Any]) -> Tensor | None:
    """Return a tensor of the bytes of a large array, or None if it has to be copied."""
    if value.nbytes <= SMALL or value.dtype.hasobject or not value.flags.c_contiguous:
        return None
    return torch.from_numpy(value.reshape(-1).view(np.uint8))


def _signature(target: Tensor, store: Tensor) -> tuple[int, ...]:
    return target._version, store._version, target.data_ptr()


def _sample(value: Tensor) -> Tensor:
    """Values at several places of the memory of a tensor."""
    apart = max(value.numel() // _PLACES, _RUN)
    places = value.numel() // apart
    flat = value.detach()
    return flat.as_strided((places, _RUN), (apart, 1))


def _equal(first: Tensor, second: Tensor) -> bool:
    """Whether values are the same, where this can be told without waiting."""
    return first.device.type == "cpu" and torch.equal(first, second)
