"""What a preflight finds, and how it is shown."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Status: TypeAlias = Literal["PASS", "WARN", "FAIL"]
"""Fine; worth a look; will go wrong."""

WIDTH = 88
"""Columns of the table."""


@dataclass(frozen=True)
class Finding:
    """What one check has to say.

    Args:
        name: Name of the check.
        status: "PASS", "WARN" or "FAIL".
        seen: What was seen.
        remedy: What to do about it; "" where there is nothing to do.
        traceback: Where an exception came from, if there was one.

    Examples:
        >>> print(Finding("eps", "WARN", "eps=0: nothing is perturbed.", "Raise eps."))
        WARN  eps            eps=0: nothing is perturbed.
                             -> Raise eps.
    """

    name: str
    status: Status
    seen: str
    remedy: str = ""
    traceback: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return the lines of the table: status, name, what was seen, the remedy."""
        head = f"{self.status}  {self.name:13}  "
        margin = " " * len(head)
        lines = textwrap.wrap(
            self.seen, WIDTH, initial_indent=head, subsequent_indent=margin
        )
        if self.remedy:
            lines += textwrap.wrap(
                self.remedy,
                WIDTH,
                initial_indent=f"{margin}-> ",
                subsequent_indent=f"{margin}   ",
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Diagnosis:
    """All findings about one module; printed, it is a table.

    Args:
        subject: What was examined, in a few words.
        findings: One or more for each check.
        skipped: Names of checks that could not be made, for reasons that a finding
            tells.

    Examples:
        >>> diagnosis = Diagnosis("Own", [Finding("eps", "PASS", "eps=8/255.")])
        >>> diagnosis.ok, diagnosis.statuses
        (True, {'eps': 'PASS'})
    """

    subject: str
    findings: Sequence[Finding]
    skipped: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing fails; there may be warnings."""
        return all(each.status != "FAIL" for each in self.findings)

    @property
    def statuses(self) -> dict[str, Status]:
        """The worst status of every check that was made, by its name."""
        order: tuple[Status, ...] = get_args(Status)
        worst: dict[str, Status] = {}
        for each in self.findings:
            before = worst.get(each.name, "PASS")
            worst[each.name] = max(before, each.status, key=order.index)
        return worst

    @property
    def tracebacks(self) -> list[str]:
        """Where the exceptions came from."""
        return [each.traceback for each in self.findings if each.traceback]

    def __str__(self) -> str:
        """Return the table."""
        counts = Counter(each.status for each in self.findings)
        total = ", ".join(f"{counts[status]} {status}" for status in get_args(Status))
        lines = [*textwrap.wrap(self.subject, WIDTH), ""]
        lines += [str(each) for each in self.findings]
        lines += ["", f"{total}."]
        if self.skipped:
            text = f"Not examined, for reasons above: {', '.join(self.skipped)}."
            lines += textwrap.wrap(text, WIDTH)
        return "\n".join(lines)
