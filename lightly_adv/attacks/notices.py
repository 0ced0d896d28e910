"""What an attack has to say, which is not repeated for each of many batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)


@contextmanager
def once(said: set[str]) -> Iterator[None]:
    """Leave out what has been said before, and note what is said inside.

    Args:
        said: What has been said; whoever attacks many batches keeps it.

    Examples:
        >>> said: set[str] = set()
        >>> with warnings.catch_warnings(record=True) as seen, once(said):
        ...     warnings.simplefilter("always")
        ...     for _ in range(2):
        ...         say("late", "it is late", stacklevel=2)
        >>> len(seen)
        1
    """
    token = _SAID.set(said)
    try:
        yield
    finally:
        _SAID.reset(token)


def say(kind: str, text: str, *, stacklevel: int) -> None:
    """Warn, unless `once` knows that a warning of this kind was given.

    Args:
        kind: What it is about.
        text: The warning.
        stacklevel: As of `warnings.warn`, seen from the caller.
    """
    said = _SAID.get()
    if said is not None:
        if kind in said:
            return
        said.add(kind)
    warnings.warn(text, stacklevel=stacklevel + 1)
