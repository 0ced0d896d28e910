"""The audit of a file of tables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightly_adv.audit import rules
from lightly_adv.audit.measurements import Measurement, measurements
from lightly_adv.audit.tables import read_tables
from lightly_adv.evaluation.checks.check import Check


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Args:
        name: Name of the file.
        measurements: The accuracies, by the title of their table.
        findings: What cannot be, each with the cells that show it.
        not_stated: What a reader has to know and is not told.
    """

    name: str
    measurements: Mapping[str, Sequence[Measurement]]
    findings: Sequence[Check]
    not_stated: Sequence[str]

    @property
    def label(self) -> str:
        """How much was read."""
        count = sum(map(len, self.measurements.values()))
        return f"{count} accuracies in {len(self.measurements)} tables of {self.name}"

    def to_json(self, *, indent: int | None = None) -> str:
        """Write findings and what is not stated as JSON."""
        content: dict[str, Any] = {
            "name": self.name,
            "tables": {title: len(each) for title, each in self.measurements.items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "not_stated": list(self.not_stated),
        }
        return json.dumps(content, indent=indent)


def audit(path: str | os.PathLike[str]) -> Audit:
    r"""Read tables of accuracies by attack and eps, and name what cannot be.

    Columns (or rows) that name attacks or values of eps are read, and what else is in
    the tables is left alone. Differences within half a point, within the rounding and
    within a spread after "±" are no findings.

    Args:
        path: CSV, Markdown or JSON.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no accuracies under attack, or is no such file.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "table.csv")
        >>> _ = path.write_text("model,clean,PGD-20 8/255,AA 8/255\na,84.0,51.2,54.9")
        >>> (finding,) = audit(path).findings
        >>> finding.name
        'AutoAttack above a weaker attack'
    """
    path = Path(path)
    tables, text = read_tables(path)
    read = {table.title: measurements(table) for table in tables}
    read = {title: each for title, each in read.items() if each}
    if not read:
        raise ValueError(
            f"{path} has no accuracies in its {len(tables)} tables; expected columns "
            "or rows named after attacks or eps, such as clean, PGD-20, eps=8/255, "
            "with numbers in them."
        )
    findings = [
        finding
        for found in read.values()
        for model in rules.by_model(found)
        for rule in rules.RULES
        for finding in rule(model)
    ]
    every = [each for found in read.values() for each in found]
    return Audit(path.name, read, findings, list(_not_stated(every, text)))


def _not_stated(found: Sequence[Measurement], text: str) -> list[str]:
    """Return what the numbers cannot be judged without."""
    attacked = [each.condition for each in found if not each.condition.is_clean]
    text = text.lower().replace("_", " ")
    missing = {
        "eps": any(each.eps is None for each in attacked) and not _STATED_EPS(text),
        "the unit of eps, as in 8/255": any(not each.in_pixels for each in attacked),
        "the norm": any(each.norm is None for each in attacked)
        and not re.search(r"l[-_ ]?(inf|∞|2\b|1\b)|\u2113", text),
        "which attack": any(each.attack in (None, "robust") for each in attacked)
        and not re.search(r"pgd|auto-?attack", text),
        "the number of steps": any(
            each.attack == "pgd" and each.steps is None for each in attacked
        ),
        "the number of images": not re.search(
            r"images|\d\s*(test )?(samples|pictures)|num samples|\bn ?=", text
        ),
        "restarts": not re.search(r"restart|auto-?attack|\baa\b", text),
        "how the epoch was chosen": not re.search(
            r"\b(best|last|final)\b|validation|selected", text
        ),
    }
    return [name for name, is_missing in missing.items() if attacked and is_missing]


_STATED_EPS = re.compile(r"/\s*255|eps|ε|ϵ").search
