"""Checks of tensors that are looked at together, when the work that made them is done.

Reading a value waits for the device that computes it. A loop that looks at nothing
until it is over keeps the device busy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TypeAlias

import torch
from torch import Tensor

Judge: TypeAlias = Callable[[list[float]], object]
"""Takes values, and raises or warns if they are not as they should be."""


class Checks:
    """Values to look at, in the order in which they were added.

    Examples:
        >>> def positive(values):
        ...     if min(values) <= 0:
        ...         raise ValueError(f"{min(values)} is not positive.")
        >>> checks = Checks()
        >>> checks.add(torch.tensor([1.0, 2.0]), positive)
        >>> checks.add(torch.tensor(-1.0), positive)
        >>> checks.look()
        Traceback (most recent call last):
        ValueError: -1.0 is not positive.
    """

    def __init__(self) -> None:
        self._values: list[Tensor] = []
        self._judges: list[Judge] = []

    def add(self, values: Tensor, judge: Judge) -> None:
        """Add values, of shape () or (N,), and what judges them."""
        self._values.append(values.detach())
        self._judges.append(judge)

    def values(self) -> Tensor:
        """Return all values in one tensor of shape (N,), which is not looked at yet.

        It is float64 if one of them is, else float32.
        """
        if not self._values:
            return torch.zeros(0)
        device = self._values[0].device
        double = any(values.dtype == torch.float64 for values in self._values)
        widest = torch.float64 if double else torch.float32
        return torch.cat([x.reshape(-1).to(device, widest) for x in self._values])

    def judge(self, values: Sequence[float]) -> None:
        """Have the numbers in `values()` judged.

        Raises:
            Exception: What the first judge raises that does.
        """
        rest = iter(values)
        for each, judge in zip(self._values, self._judges, strict=True):
            judge(list(itertools.islice(rest, each.numel())))

    def look(self) -> None:
        """Read all values and have them judged; waits for the device once.

        Raises:
            Exception: What the first judge raises that does.
        """
        self.judge(self.values().tolist())


_PENDING: ContextVar[Checks | None] = ContextVar("pending", default=None)


class checks:  # noqa: N801 - used as a function
    """Look at what is checked inside when the outermost of these scopes ends.

    If it ends in an error, what was checked before may tell the cause, and is raised
    instead.

    Examples:
        >>> def refuse(values):
        ...     raise ValueError(f"saw {values}")
        >>> with checks():
        ...     with checks() as pending:
        ...         pending.add(torch.tensor(3.0), refuse)
        ...     print("still at work")
        Traceback (most recent call last):
        ValueError: saw [3.0]
    """

    def __enter__(self) -> Checks:
        """Return what to add checks to."""
        outer = _PENDING.get()
        self._outermost = outer is None
        self._pending = outer or Checks()
        self._token: Token[Checks | None] = _PENDING.set(self._pending)
        return self._pending

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Look, unless this is inside of another scope."""
        _PENDING.reset(self._token)
        if not self._outermost:
            return
        if error is None:
            self._pending.look()
        elif isinstance(error, Exception):
            try:
                values = self._pending.values().tolist()
            except Exception:
                return  # the error tells more
            self._pending.judge(values)


@contextmanager
def kept(pending: Checks) -> Iterator[None]:
    """Add to some checks all that is to be checked inside, and look at nothing.

    Examples:
        >>> pending = Checks()
        >>> with kept(pending), checks() as inner:
        ...     inner.add(torch.tensor(3.0), print)
        >>> pending.look()
        [3.0]
    """
    token = _PENDING.set(pending)
    try:
        yield
    finally:
        _PENDING.reset(token)


@contextmanager
def apart() -> Iterator[None]:
    """Let checks inside of this scope be looked at in it, whatever is around it.

    Examples:
        >>> def refuse(values):
        ...     raise ValueError(f"saw {values}")
        >>> with checks():
        ...     with apart(), checks() as pending:
        ...         pending.add(torch.tensor(3.0), refuse)
        ...     print("still at work")
        Traceback (most recent call last):
        ValueError: saw [3.0]
    """
    token = _PENDING.set(None)
    try:
        yield
    finally:
        _PENDING.reset(token)
