"""Two reports on the same images: which model is better, and is it sure?"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightly_adv import json_files
from lightly_adv.evaluation.differences import (
    PairedDifference,
    images_needed,
    paired_difference,
)
from lightly_adv.json_files import Need

Content = Mapping[str, Any]

FEW = 10
"""On fewer images than this, differing verdicts make a rough interval."""


@dataclass(frozen=True)
class Comparison:
    """The second model minus the first, in points of percent.

    Args:
        names: Names of the models.
        label: Suite, threat model and images of both.
        accuracy: For "clean" and after each attack, the accuracies of both in percent.
        differences: The same as paired differences.
        only: How many images the first, and the second, alone gets right under
            every attack.
        needed: How many images it takes to tell the difference, see
            `images_needed`; None where that is not bounded.
        num_samples: How many images there are.
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
        """Which model is more robust, or how many images more it takes to tell."""
        found = self.robust
        if found.resolved:
            better, sign = ("B", 1) if found.mean > 0 else ("A", -1)
            ends = sorted((sign * found.low, sign * found.high))
            points = f"{abs(found.mean):.1f} points [{ends[0]:.1f}, {ends[1]:.1f}]"
            return f"{better} better by {points}"
        if not any(self.only):
            return "no difference: both get the same images right"
        text = "no difference at this sample size"
        if self.needed is None:
            return f"{text}, and none to be seen: each alone gets {self.only[0]} right"
        more = _rounded(max(self.needed - self.num_samples, 1))
        return (
            f"{text}: about {more:,} images more needed to tell "
            f"{abs(found.mean):.1f} points"
        )

    @property
    def notes(self) -> list[str]:
        """What makes the interval less sure than it looks."""
        if 0 < sum(self.only) < FEW:
            return [
                f"the models differ on {sum(self.only)} images only, so the interval "
                "is rough; use more images."
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
            "attack_order": list(self.differences),
            "only": {"A": self.only[0], "B": self.only[1]},
            "images_needed": self.needed,
        }
        return json.dumps(content, indent=2) + "\n"


def read(path: Path) -> Content:
    """Return the content of a report.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no report, or one that does not tell its images.
    """
    content = json_files.read(path, _NEEDS, what=_WHAT, remedy=_REMEDY)
    _check_order(content, path)
    if not (content.get("data") or {}).get("digest"):
        raise ValueError(
            f"{path} does not tell which images it is about: an older version of "
            "lightly-adv wrote it. Evaluate the checkpoint again."
        )
    return content


def compare(first: Content, second: Content) -> Comparison:
    """Compare two reports, image by image.

    Args:
        first: Content of a report, A.
        second: Content of the other one, B.

    Raises:
        ValueError: If threat models, suites or images are not the same.

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
    flags = {
        name: (_right(first, name), _right(second, name)) for name in _order(first)
    }
    for name, (one, other) in flags.items():
        accuracy[name] = (_percent(one), _percent(other))
        differences[name] = paired_difference(other, one)
    worst, better = list(flags.values())[-1]
    row = first["rows"][0]
    return Comparison(
        names=(str(row["name"]), str(second["rows"][0]["name"])),
        label=f"{row['suite']}, {_ball(first)}, {len(worst):,} images",
        accuracy=accuracy,
        differences=differences,
        only=(int((worst > better).sum()), int((better > worst).sum())),
        needed=images_needed(better, worst),
        num_samples=len(worst),
    )


def _check(first: Content, second: Content) -> None:
    """Refuse what cannot be compared image by image."""
    told = (
        ("threat model", _ball, "--norm and --eps"),
        ("suite", _suite, "--suite and --restarts"),
        ("number of images", _count, "--max_samples"),
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
            "the reports are about different images (their data digests differ), so "
            "no image can be compared. Evaluate one of the checkpoints again on the "
            "data of the other, in the same order and normalised alike."
        )


def _ball(content: Content) -> str:
    allowed = content["threat_model"]
    low, high = allowed["bounds"]
    inside = "" if (low, high) == (0, 1) else f" in [{low:g}, {high:g}]"
    return f"{allowed['norm']} {allowed['eps_text']}{inside}"


def _suite(content: Content) -> str:
    attacks = sorted(name for name in content["flags"] if name != "clean")
    return f"{content['rows'][0]['suite']} ({', '.join(attacks)})"


def _count(content: Content) -> int:
    return len(list(content["flags"]["clean"]))


def _percent(flags: Tensor) -> float:
    return 100 * int(flags.sum()) / len(flags)


def _right(content: Content, name: str) -> Tensor:
    return torch.tensor(content["flags"][name]).bool()


def _order(content: Content) -> list[str]:
    """Return "clean" and the attacks in the order in which they ran.

    Older reports do not tell it but for the order of their keys, which many tools
    sort; as every attack leaves fewer images than those before, it is known anyway.
    """
    told: list[str] | None = content.get("attack_order")
    return told or sorted(content["flags"], key=partial(_left, content))


def _left(content: Content, name: str) -> tuple[bool, int]:
    return name != "clean", -sum(content["flags"][name])


def _is_one_row(part: Any) -> bool:
    return json_files.is_list(part, _is_row, length=1)


def _is_row(part: Any) -> bool:
    return json_files.has(part, "name", "suite")


def _is_ball(part: Any) -> bool:
    return json_files.has(part, "norm", "eps_text", "bounds") and json_files.is_list(
        part["bounds"], json_files.is_number, length=2
    )


def _is_digest(part: Any) -> bool:
    return json_files.has(part, "digest") and isinstance(part["digest"], str)


def _are_flags(part: Any) -> bool:
    if not json_files.has(part, "clean"):
        return False
    if not all(json_files.is_list(each, _is_mark) for each in part.values()):
        return False
    (count, *others) = {len(flags) for flags in part.values()}
    return count > 0 and not others and _are_nested(part)


def _is_mark(part: Any) -> bool:
    return json_files.is_number(part) and part in (0, 1)


def _are_nested(flags: Mapping[str, list[int]]) -> bool:
    """Return whether each attack leaves only what those before it have left."""
    order = sorted(flags, key=partial(_left, {"flags": flags}))
    return all(
        after <= before
        for one, other in itertools.pairwise(order)
        for before, after in zip(flags[one], flags[other], strict=True)
    )


def _check_order(content: Content, path: Path) -> None:
    """Refuse an order that is not that of the flags."""
    order = content.get("attack_order")
    needs = {
        "attack_order": Need(
            lambda part: part is None or _is_order(part, content["flags"]),
            "the names in flags, clean first, each after those that leave more",
        )
    }
    json_files.check(
        {"attack_order": order}, needs, path=path, what=_WHAT, remedy=_REMEDY
    )


def _is_order(part: Any, flags: Mapping[str, list[int]]) -> bool:
    if not json_files.is_list(part, json_files.is_text):
        return False
    counts = [sum(flags.get(name, [])) for name in part]
    return (
        sorted(part) == sorted(flags)
        and part[0] == "clean"
        and counts == sorted(counts, reverse=True)
    )


_WHAT = "the report of one evaluation"
_REMEDY = "Give what lightly-adv evaluate has written."

_NEEDS = {
    "rows": Need(_is_one_row, "a list of one row, with name and suite"),
    "threat_model": Need(_is_ball, "norm, eps_text and two bounds"),
    "flags": Need(
        _are_flags,
        "0 or 1 for every image, clean and after each attack, which leaves no "
        "image that one before it has broken",
    ),
    "data": Need(
        lambda part: part is None or _is_digest(part), "the digest of the images"
    ),
}
"""What `compare` reads."""


def _rounded(count: int) -> int:
    """Keep two digits: the number stands on a difference that is itself unsure.

    Examples:
        >>> _rounded(1234), _rounded(87)
        (1200, 87)
    """
    return round(count, 2 - len(str(count)))
