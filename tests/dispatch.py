"""What the dispatcher is asked for: reads of values by the host, and operations."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READS = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::_unique2",
}
"""What would make the host wait for a device."""

READING_METHODS = ("tolist", "numpy", "__array__")
"""The same, where it does not pass the dispatcher."""


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts reads of values, and keeps where they were made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places: list[str] = []

    @property
    def count(self) -> int:
        return len(self.places)

    def note(self) -> None:
        lines = traceback.extract_stack()
        ours = [each for each in lines if "lightly_adv/" in each.filename]
        last = (ours or lines)[-1]
        self.places.append(f"{last.filename}:{last.lineno}")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func._schema.name in READS or _has_mask(func, args):
            self.note()
        return func(*args, **(kwargs or {}))


def _has_mask(func: Any, args: Any) -> bool:
    """Whether it is an index with a mask, which has to be counted on a device."""
    if not func._schema.name.startswith("aten::index"):
        return False
    leaves = torch.utils._pytree.tree_leaves(args[1:])
    return any(
        isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in leaves
    )


@contextmanager
def reads() -> Iterator[Reads]:
    """Count the reads of values by the host."""
    with (
        Reads() as counted,
        mock.patch.multiple(
            Tensor, **{name: _noting(name, counted) for name in READING_METHODS}
        ),
    ):
        yield counted


def _noting(name: str, counted: Reads) -> Any:
    method = getattr(Tensor, name)

    def noting(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        counted.note()
        return method(self, *args, **kwargs)

    return noting


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that compute something: not views, which cost no kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()
        self.active = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if self.active and not func.is_view and func._schema.name != "aten::detach":
            self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is inside."""
        self.active = False
        try:
            yield
        finally:
            self.active = True


class Devices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations on tensors of several devices, other than copies of noise."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mixed: list[str] = []
        self.drawn: list[str] = []
        self.gradients = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func._schema.name
        leaves = torch.utils._pytree.tree_leaves((args, kwargs))
        devices = {x.device.type for x in leaves if isinstance(x, Tensor)}
        if len(devices) > 1 and name != "aten::copy_":
            self.mixed.append(name)
        if name in ("aten::rand", "aten::randn"):
            self.drawn.append(found.device.type)
        self.gradients += name == "aten::ones_like"  # where a backward pass begins
        return found
