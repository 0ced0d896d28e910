"""Paired comparison of two reports on the same images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from lightly_adv.evaluation import formatting, statistics
from lightly_adv.evaluation.differences import (
    PairedDifference,
    images_needed,
    paired_difference,
)
from lightly_adv.evaluation.robustness_report import RobustnessReport

FEW = 10
"""With fewer images that tell the models apart, the interval is rough."""


@dataclass(frozen=True)
class Comparison:
    """The second model minus the first, in points of percent.

    Args:
        names: Names of the models.
        label: Suite, threat model and images of both.
        accuracy: For "clean" and after each attack, the accuracies of both in percent.
        differences: The same as paired differences.
        only: How many images only the first, and only the second, classifies
            correctly under every attack.
        needed: How many images it takes to resolve the difference, see
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
        """Which model is more robust, or how many more images it takes to tell."""
        robust = self.robust
        if robust.resolved:
            better, sign = ("B", 1) if robust.mean > 0 else ("A", -1)
            ends = sorted((sign * robust.low, sign * robust.high))
            points = f"{abs(robust.mean):.1f} points [{ends[0]:.1f}, {ends[1]:.1f}]"
            return f"{better} better by {points}"
        if not any(self.only):
            return "no difference: both get the same images right"
        text = "no difference at this sample size"
        if self.needed is None:
            return f"{text}, and none to be seen: each alone gets {self.only[0]} right"
        more = _rounded(max(self.needed - self.num_samples, 1))
        return (
            f"{text}: about {more:,} images more needed to tell "
            f"{abs(robust.mean):.1f} points"
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
            "differences": {
                name: asdict(pair) for name, pair in self.differences.items()
            },
            "attack_order": list(self.differences),
            "only": {"A": self.only[0], "B": self.only[1]},
            "images_needed": self.needed,
        }
        return json.dumps(content, indent=2) + "\n"


def compare(
    first: RobustnessReport | str | os.PathLike[str],
    second: RobustnessReport | str | os.PathLike[str],
) -> Comparison:
    """Compare two reports, image by image.

    Args:
        first: A report, or the path of one; A.
        second: The other one, B.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is no report, if a report does not say which images it is
            about, or if threat models, suites or images are not the same.

    Examples:
        >>> import torch
        >>> from lightly_adv import ThreatModel
        >>> def report(robust: int) -> RobustnessReport:
        ...     flags = {"clean": torch.ones(40), "pgd": torch.arange(40) < robust}
        ...     flags = {name: flag.bool() for name, flag in flags.items()}
        ...     ball = ThreatModel(eps=8 / 255)
        ...     return RobustnessReport(
        ...         suite="pgd-20", threat_model=ball, flags=flags, data_digest="a1b2"
        ...     )
        >>> compare(report(0), report(10)).verdict
        'B better by 25.0 points [12.5, 40.0]'
    """
    first, second = _loaded(first), _loaded(second)
    _check(first, second)
    pairs = {name: (first.flags[name], second.flags[name]) for name in first.flags}
    one, other = list(pairs.values())[-1]
    return Comparison(
        names=(first.name, second.name),
        label=first.label,
        accuracy={
            name: (statistics.percent(a), statistics.percent(b))
            for name, (a, b) in pairs.items()
        },
        differences={name: paired_difference(b, a) for name, (a, b) in pairs.items()},
        only=(int((one & ~other).sum()), int((other & ~one).sum())),
        needed=images_needed(other, one),
        num_samples=first.num_samples,
    )


def _loaded(
    report: RobustnessReport | str | os.PathLike[str],
) -> RobustnessReport:
    if isinstance(report, RobustnessReport):
        return report
    return RobustnessReport.load(report)


def _check(first: RobustnessReport, second: RobustnessReport) -> None:
    """Refuse what cannot be compared image by image."""
    same: tuple[tuple[str, Callable[[RobustnessReport], object], str], ...] = (
        ("threat model", _ball, "--norm and --eps"),
        ("suite", _suite, "--suite and --restarts"),
        ("number of images", lambda report: report.num_samples, "--max_samples"),
    )
    for what, of, options in same:
        if of(first) != of(second):
            raise ValueError(
                f"the reports differ in their {what}: A has {of(first)}, B "
                f"{of(second)}. Evaluate one of the checkpoints again, with the same "
                f"{options}."
            )
    for report in (first, second):
        if not report.data_digest:
            raise ValueError(
                f"the report on {report.name!r} has no data_digest, so it does not "
                "say which images it is about. Evaluate the checkpoint again."
            )
    if first.data_digest != second.data_digest:
        raise ValueError(
            "the reports are about different images (their data digests differ), so "
            "no image can be compared. Evaluate one of the checkpoints again on the "
            "data of the other, in the same order and normalised alike."
        )


def _ball(report: RobustnessReport) -> str:
    low, high = report.threat_model.bounds
    inside = "" if (low, high) == (0, 1) else f" in [{low:g}, {high:g}]"
    return f"{formatting.ball(report.threat_model)}{inside}"


def _suite(report: RobustnessReport) -> str:
    return f"{report.suite} ({', '.join(list(report.flags)[1:])})"


def _rounded(count: int) -> int:
    """Keep two digits: the number depends on a difference that is itself unsure.

    Examples:
        >>> _rounded(1234), _rounded(87)
        (1200, 87)
    """
    return round(count, 2 - len(str(count)))
