"""Numbers that follow the progress of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Scheduled: TypeAlias = float | Callable[[float], float]
"""A number, or a function from the progress of training, in [0, 1], to a number."""


@dataclass(frozen=True)
class Ramp:
    """Go linearly from one number to another, and stay there.

    Args:
        start: Value at the beginning of training.
        end: Value from `until` on.
        until: Share of training after which `end` is reached, in [0, 1]. 0 starts with
            `end`.

    Raises:
        ValueError: If `until` lies outside of [0, 1].

    Examples:
        >>> weight = Ramp(0.0, 0.5, until=0.4)
        >>> weight(0.0), weight(0.2), weight(1.0)
        (0.0, 0.25, 0.5)
    """

    start: float
    end: float
    until: float = 1.0

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if not 0 <= self.until <= 1:
            raise ValueError(
                f"until={self.until} is not a share of training in [0, 1]."
            )

    def __call__(self, progress: float) -> float:
        """Return the value at a point of training, given in [0, 1]."""
        if progress >= self.until:
            return self.end
        return self.start + progress / self.until * (self.end - self.start)


def value_at(scheduled: Scheduled, progress: float) -> float:
    """Return a number as it is at a point of training.

    Args:
        scheduled: A number, or a function of the progress such as `Ramp`.
        progress: The point of training, in [0, 1].

    Examples:
        >>> value_at(0.5, 0.2), value_at(Ramp(1.0, 0.0), 0.25)
        (0.5, 0.75)
    """
    return scheduled(progress) if callable(scheduled) else scheduled
