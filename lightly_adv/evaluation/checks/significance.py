"""Whether a count on a few images is large enough for a WARN."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping

from lightly_adv.evaluation.checks.check import (
    Check,
    CheckFunction,
    SkipError,
    name_of,
)
from lightly_adv.evaluation.checks.check_context import CheckContext

NONE_CORRECT = "no image is correctly classified without an attack"

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
    most: int | None = None,
) -> Check:
    """Warn if too many images are in doubt.

    Args:
        name: Name of the check.
        count: How many are in doubt.
        total: How many correct images they are a part of.
        message: What was found, in one line.
        remedy: What to do where there are too many.
        values: More numbers.
        most: How many may be in doubt. Defaults to `allowed`.

    Examples:
        >>> judge("a", 9, 64, message="9 of 64", remedy="Do b.").status
        'WARN'
        >>> judge("a", 8, 64, message="8 of 64", remedy="Do b.").status
        'PASS'
    """
    most = allowed(total) if most is None else most
    found = {"count": count, "of": total, "allowed": most, **(values or {})}
    if count <= most:
        return Check(name, "PASS", message, values=found)
    return Check(name, "WARN", message, remedy, found)


def of_robust_images(check: CheckFunction[CheckContext]) -> CheckFunction[CheckContext]:
    """Run a check only where robust images that an attack may break make a difference.

    Args:
        check: Attacks robust images.
    """

    @functools.wraps(check)
    def run(context: CheckContext) -> Check | Iterable[Check]:
        correct, robust = int(context.correct.sum()), int(context.robust.sum())
        if not correct:
            raise SkipError(NONE_CORRECT)
        if context.threat_model.eps == 0:
            raise SkipError("eps is 0: there is nothing to find")
        if robust > allowed(correct):
            return check(context)
        message = (
            f"only {robust} of {correct} correct images are robust: the number cannot "
            "be far off"
        )
        return judge(name_of(check), 0, correct, message=message, remedy="")

    return run
