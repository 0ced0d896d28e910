"""Two reports on the same pictures: which model is better, and is it sure?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightly_adv.evaluation.differences import (
    PairedDifference,
    paired_difference,
    pictures_needed,
)

Content = Mapping[str, Any]

FEW = 10
"""On fewer pictures than this, differing verdicts make a rough interval."""

_NEEDS = ("rows", "threat_model", "flags")


@dataclass(frozen=True)
class Comparison:
    """The second model minus the first, in points of percent.

    Args:
        names: Names of the models.
        label: Suite, threat model and pictures of both.
        accuracy: For "clean" and after each attack, the accuracies of both in percent.
        differences: The same as paired differences.
        only: How many pictures the first, and the second, alone gets right under
            every attack.
        needed: How many pictures it takes to tell the difference, see
            `pictures_needed`; None where that is not bounded.
        num_samples: How many pictures there are.
    """

    names: tuple[str, str]
    label: str
    accuracy: Mapping[str, tuple[float, float]]
    differences: Mapping[str, PairedDifference]
    only: tuple[int, int]
    needed: int | None
    num_samples: int

    @property
    def robust(self) -> PairedDifference:
        """The difference of the worst cases."""
        return list(self.differences.values())[-1]

    @property
    def verdict(self) -> str:
        """Which model is more robust, or how many pictures more it takes to tell."""
        found = self.robust
        if found.resolved:
            better, sign = ("B", 1) if found.mean > 0 else ("A", -1)
            ends = sorted((sign * found.low, sign * found.high))
            points = f"{abs(found.mean):.1f} points [{ends[0]:.1f}, {ends[1]:.1f}]"
            return f"{better} better by {points}"
        if not any(self.only):
            return "no difference: both get the same pictures right"
        text = "no difference at this sample size"
        if self.needed is None:
            return f"{text}, and none to be seen: each alone gets {self.only[0]} right"
        more = _rounded(max(self.needed - self.num_samples, 1))
        return (
            f"{text}: about {more:,} pictures more needed to tell "
            f"{abs(found.mean):.1f} points"
        )

    @property
    def notes(self) -> list[str]:
        """What makes the interval less sure than it looks."""
        if 0 < sum(self.only) < FEW:
            return [
                f"the models differ on {sum(self.only)} pictures only, so the interval "
                "is rough; use more pictures."
            ]
        return []

    def to_json(self) -> str:
        """Return everything as JSON."""
        content = {
            "names": self.names,
            "label": self.label,
            "num_samples": self.num_samples,
            "verdict": self.verdict,
            "notes": self.notes,
            "accuracy": self.accuracy,
            "differences": {k: asdict(each) for k, each in self.differences.items()},
            "only": {"A": self.only[0], "B": self.only[1]},
            "pictures_needed": self.needed,
        }
        return json.dumps(content, indent=2) + "\n"


def read(path: Path) -> Content:
    """Return the content of a report.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no report, or one that does not tell its pictures.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no report at {path}.")
    try:
        content = json.loads(path.read_text())
        missing = [key for key in _NEEDS if key not in content]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is not JSON; expected a report of lightly-adv evaluate."
        ) from error
    if not isinstance(content, dict) or missing or len(content["rows"]) != 1:
        raise ValueError(
            f"{path} is not the report of one evaluation; expected what lightly-adv "
            "evaluate has written."
        )
    if not content.get("data", {}).get("digest"):
        raise ValueError(
            f"{path} does not tell which pictures it is about: an older version of "
            "lightly-adv wrote it. Evaluate the checkpoint again."
        )
    return content


def compare(first: Content, second: Content) -> Comparison:
    """Compare two reports, picture by picture.

    Args:
        first: Content of a report, A.
        second: Content of the other one, B.

    Raises:
        ValueError: If threat models, suites or pictures are not the same.

    Examples:
        >>> def report(name: str, right: list[int]) -> dict[str, Any]:
        ...     row = {"name": name, "suite": "pgd-20", "num_samples": len(right)}
        ...     ball = {"norm": "Linf", "eps_text": "8/255", "bounds": [0, 1]}
        ...     flags = {"clean": [1] * len(right), "pgd": right}
        ...     found = {"rows": [row], "threat_model": ball, "flags": flags}
        ...     return {**found, "data": {"digest": "a1b2"}}
        >>> found = compare(report("a", [0] * 40), report("b", [1] * 10 + [0] * 30))
        >>> found.verdict
        'B better by 25.0 points [12.5, 40.0]'
    """
    _check(first, second)
    accuracy, differences = {}, {}
    flags: dict[str, tuple[Tensor, Tensor]] = {
        name: (torch.tensor(first["flags"][name]), torch.tensor(each))
        for name, each in second["flags"].items()
    }
    for name, (one, other) in flags.items():
        accuracy[name] = (_percent(one), _percent(other))
        differences[name] = paired_difference(other, one)
    worst, better = list(flags.values())[-1]
    row = first["rows"][0]
    return Comparison(
        names=(str(row["name"]), str(second["rows"][0]["name"])),
        label=f"{row['suite']}, {_ball(first)}, {len(worst):,} pictures",
        accuracy=accuracy,
        differences=differences,
        only=(int((worst > better).sum()), int((better > worst).sum())),
        needed=pictures_needed(better, worst),
        num_samples=len(worst),
    )


def _check(first: Content, second: Content) -> None:
    """Refuse what cannot be compared picture by picture."""
    told = (
        ("threat model", _ball, "--norm and --eps"),
        ("suite", _suite, "--suite and --restarts"),
        ("number of pictures", _count, "--max_samples"),
    )
    for what, of, options in told:
        if of(first) != of(second):
            raise ValueError(
                f"the reports differ in their {what}: A has {of(first)}, B "
                f"{of(second)}. Evaluate one of the checkpoints again, with the same "
                f"{options}."
            )
    if first["data"]["digest"] != second["data"]["digest"]:
        raise ValueError(
            "the reports are about different pictures (their data digests differ), so "
            "no picture can be compared. Evaluate one of the checkpoints again on the "
            "data of the other, in the same order and normalised alike."
        )


def _ball(content: Content) -> str:
    allowed = content["threat_model"]
    low, high = allowed["bounds"]
    inside = "" if (low, high) == (0, 1) else f" in [{low:g}, {high:g}]"
    return f"{allowed['norm']} {allowed['eps_text']}{inside}"


def _suite(content: Content) -> str:
    attacks = [name for name in content["flags"] if name != "clean"]
    return f"{content['rows'][0]['suite']} ({', '.join(attacks)})"


def _count(content: Content) -> int:
    return len(list(content["flags"]["clean"]))


def _percent(flags: Tensor) -> float:
    return 100 * int(flags.sum()) / len(flags)


def _rounded(count: int) -> int:
    """Keep two digits: the number stands on a difference that is itself unsure.

    Examples:
        >>> _rounded(1234), _rounded(87)
        (1200, 87)
    """
    return round(count, 2 - len(str(count)))
