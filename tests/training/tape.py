"""Recordings on the CPU, as faithful as those of a GPU to what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.dispatch import READS

Result = TypeVar("Result")


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations with the tensors they read and write, and does them again.

    Like a CUDA graph it knows tensors by where they are and nothing of Python: what was
    a number or another tensor in the recording stays that. A value that is read ends
    the recording, as it does there.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.repeats = 0
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    def record(self, run: Callable[[], Result], *, generator: Generator) -> Result:
        state = generator.get_state()
        with self:
            found = run()
        generator.set_state(state)
        return found

    def repeat(self) -> None:
        self.repeats += 1
        with torch.no_grad():
            for func, args, kwargs, before in self._operations:
                _overwrite(before, func(*args, **kwargs))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func._schema.name in READS:
            raise RuntimeError("operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        # What is a view shows by itself what is written into its base.
        if not func.is_view:
            self._operations.append((func, args, kwargs or {}, found))
        return found


def _overwrite(before: Any, new: Any) -> None:
    leaves = zip(
        torch.utils._pytree.tree_leaves(before),
        torch.utils._pytree.tree_leaves(new),
        strict=True,
    )
    for old, value in leaves:
        if isinstance(old, Tensor) and old is not value:
            old.detach().copy_(value)
