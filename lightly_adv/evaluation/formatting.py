"""Format distances, threat models, attacks and durations."""

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


def duration(seconds: float) -> str:
    """Return a time in the unit that reads best.

    Examples:
        >>> duration(0.0123), duration(40), duration(600), duration(9000)
        ('12 ms', '40 s', '10 min', '2.5 h')
    """
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    is_short = 0 < seconds < 0.1
    return f"{1000 * seconds:.2g} ms" if is_short else f"{seconds:.2g} s"
