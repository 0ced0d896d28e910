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


@dataclass(frozen=True)
class StrengthSchedule:
    """Weaken augmentations step by step, as DynACL [0] does.

    The strength falls from 1 by `period / epochs` every `period` epochs; it never
    reaches 0.

    - [0] Rethinking the Effect of Data Augmentation in Adversarial Contrastive
      Learning, 2023, https://arxiv.org/abs/2303.01289

    Args:
        epochs: Epochs of the whole training.
        period: Epochs between two steps.

    Raises:
        ValueError: If a number is below 1, or if the period is longer than the
            training.

    Examples:
        >>> strength = StrengthSchedule(epochs=1000, period=50)
        >>> strength(0), strength(49), strength(50), round(strength(999), 3)
        (1.0, 1.0, 0.95, 0.05)
    """

    epochs: int = 1000
    period: int = 50

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if not 1 <= self.period <= self.epochs:
            raise ValueError(
                f"epochs={self.epochs} and period={self.period}; expected at least 1 "
                "epoch, and a period of 1 to as many, such as epochs / 20."
            )

    def __call__(self, epoch: int) -> float:
        """Return the strength in an epoch, counted from 0."""
        return 1.0 - epoch // self.period * self.period / self.epochs


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
