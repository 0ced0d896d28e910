"""The result of a preflight, and how it is printed."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from lightly_adv.evaluation.checks.check import Check, Status

WIDTH = 88
"""Columns of the table."""

STATUSES: tuple[Status, ...] = get_args(Status)
"""From harmless to severe."""


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks of one module; printed, it is a table.

    Args:
        subject: What was examined, in a few words.
        checks: One or more for each check that was made. Those that could not be made,
            for reasons that another one reports, have the status "SKIP".

    Examples:
        >>> checks = [Check("eps", "WARN", "nothing is perturbed.", "Raise eps.")]
        >>> diagnosis = Diagnosis("SimCLR; cpu", checks)
        >>> diagnosis.ok, diagnosis.statuses
        (True, {'eps': 'WARN'})
        >>> print(diagnosis)
        SimCLR; cpu
        <BLANKLINE>
        WARN  eps            nothing is perturbed.
                             -> Raise eps.
        <BLANKLINE>
        0 PASS, 1 WARN, 0 FAIL.
    """

    subject: str
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether nothing fails; there may be warnings."""
        return all(check.status != "FAIL" for check in self.checks)

    @property
    def statuses(self) -> dict[str, Status]:
        """The worst status of every check, by its name."""
        worst: dict[str, Status] = {}
        for check in self.checks:
            before = worst.get(check.name, "SKIP")
            worst[check.name] = max(before, check.status, key=STATUSES.index)
        return worst

    @property
    def skipped(self) -> list[str]:
        """The names of checks that could not be made."""
        return [check.name for check in self.checks if check.status == "SKIP"]

    @property
    def tracebacks(self) -> list[str]:
        """Where the exceptions came from."""
        return [check.traceback for check in self.checks if check.traceback]

    def __str__(self) -> str:
        """Return the table."""
        counts = Counter(check.status for check in self.checks)
        total = ", ".join(f"{counts[each]} {each}" for each in STATUSES[1:])
        lines = [*textwrap.wrap(self.subject, WIDTH), ""]
        for check in self.checks:
            lines += _lines(check) if check.status != "SKIP" else []
        lines += ["", f"{total}."]
        if self.skipped:
            text = f"Not examined, for reasons above: {', '.join(self.skipped)}."
            lines += textwrap.wrap(text, WIDTH)
        return "\n".join(lines)


def _lines(check: Check) -> list[str]:
    """Return the lines of one check: status, name, message, remedy."""
    head = f"{check.status}  {check.name:13}  "
    margin = " " * len(head)
    lines = textwrap.wrap(
        check.message, WIDTH, initial_indent=head, subsequent_indent=margin
    )
    return lines + textwrap.wrap(
        check.remedy,
        WIDTH,
        initial_indent=f"{margin}-> ",
        subsequent_indent=f"{margin}   ",
    )
