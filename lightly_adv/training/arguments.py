"""Checks of arguments that several ways to train have in common."""

from __future__ import annotations

import math


def check_weight(weight: float) -> None:
    """Refuse what is no share of the adversarial loss.

    Raises:
        ValueError: If it is not in [0, 1].
    """
    if not 0 <= weight <= 1:
        raise ValueError(
            f"weight={weight} must lie in [0, 1]: it is the share of the "
            "adversarial loss."
        )


def check_end(total_steps: float) -> None:
    """Refuse a training whose end is not known.

    Raises:
        ValueError: If the number of steps is not finite and positive.
    """
    if not (math.isfinite(total_steps) and total_steps > 0):
        raise ValueError(
            f"total_steps={total_steps}: the learning rate falls towards the end of "
            "training, which is not known, as with an IterableDataset or "
            "max_epochs=-1; give the Trainer max_steps."
        )


def check_not_negative(owner: object, *names: str) -> None:
    """Check that attributes are finite and not negative.

    Raises:
        ValueError: If one is not.
    """
    for name in names:
        value = getattr(owner, name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value} must be finite and not negative.")


def check_share(name: str, value: float) -> None:
    """Check that a number is a share of training.

    Raises:
        ValueError: If it is not in [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value} is not a share of training in [0, 1].")
