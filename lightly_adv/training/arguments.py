"""Checks of arguments that several ways to train have in common."""

from __future__ import annotations

from typing import Any

from lightly_adv.attacks import AttackLike


def check_attack(attack: Any) -> None:
    """Refuse what is neither an attack nor a schedule.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(attack, AttackLike):
        raise TypeError(
            f"attack is a {type(attack).__name__}; expected an attack such as "
            "PGD(ThreatModel(eps=8 / 255), steps=5), or an AttackSchedule."
        )


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
