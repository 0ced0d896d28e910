"""Two reports on the same pictures: which model is better, and is it sure?"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
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
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON; expected a report of lightly-adv evaluate."
        ) from error
    content: Content = found if isinstance(found, dict) else {}
    for name, (fits, expected) in _NEEDS.items():
        part = content.get(name)
        if not fits(part):
            raise ValueError(
                f"{path} is not the report of one evaluation: {name!r} in it is "
                f"{reprlib.repr(part)}, expected {expected}. Give what lightly-adv "
                "evaluate has written."
            )
    if not _has(content.get("data"), "digest") or not content["data"]["digest"]:
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


def _has(part: Any, *keys: str) -> bool:
    return isinstance(part, dict) and all(key in part for key in keys)


def _is_one_row(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 1 and _has(part[0], "name", "suite")


def _is_ball(part: Any) -> bool:
    if not _has(part, "norm", "eps_text", "bounds"):
        return False
    bounds = part["bounds"]
    numbers = isinstance(bounds, list) and [isinstance(x, int | float) for x in bounds]
    return numbers == [True, True]


def _are_flags(part: Any) -> bool:
    if not _has(part, "clean") or not all(isinstance(x, list) for x in part.values()):
        return False
    marks = all(mark in (0, 1) for flags in part.values() for mark in flags)
    (count, *others) = {len(flags) for flags in part.values()}
    return marks and count > 0 and not others


_NEEDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "rows": (_is_one_row, "a list of one row, with name and suite"),
    "threat_model": (_is_ball, "norm, eps_text and two bounds"),
    "flags": (_are_flags, "0 or 1 for every picture, clean and after each attack"),
}
"""What `compare` reads besides the digest of the data."""


def _rounded(count: int) -> int:
    """Keep two digits: the number stands on a difference that is itself unsure.

    Examples:
        >>> _rounded(1234), _rounded(87)
        (1200, 87)
    """
    return round(count, 2 - len(str(count)))
