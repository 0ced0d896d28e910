"""Paired comparison of two reports on the same images."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from lightly_adv.evaluation import encoding, formatting, statistics
from lightly_adv.evaluation.robustness_report import RobustnessReport

FEW = 10
"""With fewer images that tell the models apart, the interval is rough."""


_BOTH = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
"""Standard errors of a difference that is resolved in 4 of 5 evaluations."""


@dataclass(frozen=True)
class PairedDifference:
    """How much more images one model gets right than another, in points of percent.

    Args:
        mean: The difference.
        low: Lower end of its 95 % interval.
        high: Upper end.

    Examples:
        >>> print(PairedDifference(2.94, 1.06, 4.7))
        +2.9 [+1.1, +4.7]
    """

    mean: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether 0 lies outside of the interval."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """Return the difference and its interval, with signs."""
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def paired_difference(
    first: Tensor, second: Tensor, *, draws: int = 2000, seed: int = 0
) -> PairedDifference:
    """Return the accuracy of the first model minus that of the second.

    The interval is a paired bootstrap: images are drawn with replacement, for both
    models the same. With several seeds the difference of an image is its mean over
    them, so the interval covers the choice of the images, not that of the seeds.

    Args:
        first: Whether each image is classified correctly, of shape (N,) or (seeds, N).
        second: The same for the other model, of the same shape.
        draws: Number of bootstrap samples.
        seed: Seed of the samples.

    Raises:
        ValueError: If the shapes differ, or if there is no image.

    Examples:
        >>> right = torch.arange(1000) % 2 == 0
        >>> print(paired_difference(right, right))
        +0.0 [+0.0, +0.0]
    """
    if first.shape != second.shape or first.dim() not in (1, 2) or not first.numel():
        raise ValueError(
            f"flags of the shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "expected (N,) or (seeds, N) for the same images."
        )
    # Points of percent; exact for whole numbers of images.
    points = 100 * (first.double() - second.double())
    points = points.mean(dim=0) if points.dim() == 2 else points
    generator = Generator().manual_seed(seed)
    count = len(points)
    means = torch.stack(
        [
            points[torch.randint(count, (count,), generator=generator)].mean()
            for _ in range(draws)
        ]
    )
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return PairedDifference(float(points.mean()), low, high)


def images_needed(
    first: Tensor, second: Tensor, *, difference: float | None = None
) -> int | None:
    """Return how many images it takes to tell two models apart.

    With that many images the 95 % interval of the difference leaves out 0 in 4 of 5
    evaluations, if the models differ on other images as they do on these. With p the
    share of images that one model alone gets right, and d the difference, both as
    shares, the difference of one image has the variance p - d^2, and n is
    ((1.960 + 0.842) / d)^2 (p - d^2): the two numbers are the quantiles of the normal
    distribution at 0.975 and at 0.8. The formula for McNemar's test [0] is another one:
    it multiplies the first with the root of p, the variance if there were no difference
    to tell, and so asks for 5 or 6 images more.

    - [0] Sample size and power considerations for McNemar's test, Connor, 1987,
      https://doi.org/10.2307/2531961

    Args:
        first: Whether each image is classified correctly, of shape (N,).
        second: The same for the other model.
        difference: Which difference to tell, in points of percent; None for that of
            these images.

    Returns:
        The number. It has no bound, and is None, where there is no difference to tell,
        or no image on which the models differ.

    Examples:
        >>> first, second = torch.ones(100).bool(), torch.ones(100).bool()
        >>> second[:10], first[10:16] = False, False
        >>> images_needed(first, second)
        778
    """
    unequal = (first.bool() != second.bool()).double().mean().item()
    observed = (first.double() - second.double()).mean().item()
    target = abs(observed) if difference is None else abs(difference) / 100
    if target == 0 or unequal == 0:
        return None
    variance = max(unequal, target) - target**2
    return math.ceil((_BOTH / target) ** 2 * variance)


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
    def conclusion(self) -> str:
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
            **encoding.encode(self),
            "conclusion": self.conclusion,
            "notes": self.notes,
            "attack_order": list(self.differences),
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
        TypeError: If one is neither a path nor the report of `evaluate_robustness`.
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
        >>> compare(report(0), report(10)).conclusion
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


def _loaded(report: RobustnessReport | str | os.PathLike[str]) -> RobustnessReport:
    if isinstance(report, RobustnessReport):
        return report
    if isinstance(report, str | os.PathLike):
        return RobustnessReport.load(report)
    raise TypeError(
        f"compare was given a {type(report).__name__}, which does not say of each "
        "image whether it is robust; expected a RobustnessReport, as "
        "evaluate_robustness returns it, or the path of one."
    )


def _check(first: RobustnessReport, second: RobustnessReport) -> None:
    """Check that two reports can be compared image by image."""
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
