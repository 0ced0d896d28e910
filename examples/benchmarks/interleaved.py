"""Time several ways to do the same, in turns, so that all see the same machine."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

Run = Callable[[], object]


def measure(
    runs: Mapping[str, Run],
    *,
    rounds: int,
    clock: Callable[[], float] = time.process_time,
    budget: float = float("inf"),
) -> dict[str, list[float]]:
    """Return seconds per round, by name; everything has to be warm.

    Args:
        runs: What is timed.
        rounds: How many times each runs; another one goes first each time.
        clock: Tells the seconds.
        budget: Seconds on the wall after which no round begins, but the first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names, began = list(runs), time.perf_counter()
    for at in range(rounds):
        spent = time.perf_counter() - began
        if at and spent * (at + 1) / at > budget:
            break
        first = at % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            runs[name]()
            seconds[name].append(clock() - start)
        if sys.stderr.isatty():
            print(f"\rround {at + 1}/{rounds} ", end="", file=sys.stderr, flush=True)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the lower quartile, the median and the upper one of ratios by round."""
    return quartiles([one / other for one, other in zip(above, below, strict=True)])


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the lower quartile, the median and the upper one.

    Examples:
        >>> quartiles([1.0, 2.0, 3.0])
        [1.5, 2.0, 2.5]
    """
    if len(values) == 1:
        return list(values) * 3
    return statistics.quantiles(values, n=4, method="inclusive")
