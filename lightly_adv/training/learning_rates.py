"""Learning rates over the course of training, as shares of the highest one."""

from __future__ import annotations

import math
from collections.abc import Callable

from lightly.utils.scheduler import cosine_warmup_schedule

START = 1 / 25
"""Learning rate of the first step of one cycle, as a share of the highest one."""

END = 1e-4 * START
"""Learning rate after the last step of one cycle, as a share of the highest one."""


def one_cycle(progress: float, *, warmup: float) -> float:
    """Return the learning rate of one cycle as a share of the highest one.

    Args:
        progress: Share of training that is done; from 1 on, the last value.
        warmup: Share of training over which the rate rises.

    Examples:
        >>> one_cycle(0.2, warmup=0.2)
        1.0
    """
    if progress < warmup:
        return _cosine(START, 1.0, progress / warmup)
    if progress >= 1:
        return 1.0 if warmup == 1 else END
    return _cosine(1.0, END, (progress - warmup) / (1 - warmup))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def warmup_cosine(warmup: float, total_steps: float) -> Callable[[int], float]:
    """Return Lightly's schedule, a function from the number of the step.

    Args:
        warmup: Share of training over which the learning rate rises.
        total_steps: How long training lasts.

    Examples:
        >>> rate = warmup_cosine(0.5, 100)
        >>> rate(0), rate(24), rate(49)
        (0.02, 0.5, 1.0)
    """
    last = max(1, round(total_steps))
    rising = min(round(warmup * last), last - 1)

    def factor(step: int) -> float:
        share: float = cosine_warmup_schedule(
            step=min(step, last),
            max_steps=last,
            start_value=1.0,
            end_value=0.001,
            warmup_steps=rising,
            warmup_start_value=0.0,
        )
        return share

    return factor
