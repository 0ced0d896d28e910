"""Format distances, threat models and attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightly_adv.threat_model import ThreatModel


def fraction(value: float) -> str:
    """Write a distance in pixels as it is written in papers.

    Args:
        value: Distance in pixels of [0, 1].

    Returns:
        A short decimal where there is one, else quarters of 1/255 where it is a whole
        number of them, else five significant digits.

    Examples:
        >>> fraction(8 / 255), fraction(0.5 / 255), fraction(0.031), fraction(0.5)
        ('8/255', '0.5/255', '0.031', '0.5')
        >>> fraction(0.1234567)
        '0.12346'
    """
    short = f"{value:.10g}"
    if len(short) <= 5:
        return short
    quarters = value * 255 * 4
    if abs(quarters - round(quarters)) < 1e-6:
        return f"{round(quarters) / 4:g}/255"
    return f"{value:.5g}"


def ball(threat_model: ThreatModel) -> str:
    """Name a threat model in a few characters.

    Examples:
        >>> ball(ThreatModel(norm="Linf", eps=8 / 255))
        'Linf 8/255'
    """
    return f"{threat_model.norm} {fraction(threat_model.eps)}"


def attack(settings: Mapping[str, Any]) -> str:
    """Name an attack by its type and number of steps.

    Args:
        settings: What `Attack.settings` returns.

    Examples:
        >>> attack({"type": "PGD", "steps": 20, "restarts": 1})
        'PGD-20'
    """
    return f"{settings['type']}-{settings['steps']}"
