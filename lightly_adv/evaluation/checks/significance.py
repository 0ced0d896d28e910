"""Whether a count on a few images is large enough for a WARN."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightly_adv.evaluation.checks.check import Check

SHARE = 0.05
"""Share of the correct images that may be in doubt."""

LEVEL = 0.01
"""How probable a false alarm may be where just that share is in doubt."""


def allowed(total: int, *, share: float = SHARE) -> int:
    """Return how many of so many images may be in doubt before it is too many.

    More than that come up with a probability below `LEVEL` where each is in doubt with
    the probability `share`, or a smaller one.

    Examples:
        >>> allowed(64), allowed(24), allowed(1)
        (8, 4, 1)
    """
    below = 0.0
    for count in range(total + 1):
        chance = share**count * (1 - share) ** (total - count)
        below += math.comb(total, count) * chance
        if 1 - below < LEVEL:
            return count
    return total


def judge(
    name: str,
    count: int,
    total: int,
    *,
    message: str,
    remedy: str,
    values: Mapping[str, float] | None = None,
) -> Check:
    """Warn if too many images are in doubt.

    Args:
        name: Name of the check.
        count: How many are in doubt.
        total: How many correct images they are a part of.
        message: What was found, in one line.
        remedy: What to do where there are too many.
        values: More numbers.

    Examples:
        >>> judge("a", 9, 64, message="9 of 64", remedy="Do b.").status
        'WARN'
        >>> judge("a", 8, 64, message="8 of 64", remedy="Do b.").status
        'PASS'
    """
    most = allowed(total)
    found = {"count": count, "of": total, "allowed": most, **(values or {})}
    if count <= most:
        return Check(name, "PASS", message, values=found)
    return Check(name, "WARN", message, remedy, found)
