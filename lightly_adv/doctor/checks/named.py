"""Checks that yield results without their name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, Status, name_of

Result: TypeAlias = tuple[Status, str] | tuple[Status, str, str]
"""Status, message, and the remedy where there is one."""


def named(
    check: Callable[[Probe], Iterable[Result]],
) -> Callable[[Probe], Iterator[Check]]:
    """Give the results of a check the name of its function."""
    name = name_of(check)

    @functools.wraps(check)
    def results(probe: Probe) -> Iterator[Check]:
        return (Check(name, *result) for result in check(probe))

    return results


def listed(names: Sequence[str], *, most: int) -> str:
    """Return the first names, and how many more there are.

    Examples:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def views(numbers: Sequence[int]) -> str:
    """Name views by their numbers.

    Examples:
        >>> views([0]), views([1, 2])
        ('view 0', 'views 1, 2')
    """
    plural = "s" if len(numbers) > 1 else ""
    return f"view{plural} {', '.join(map(str, numbers))}"
