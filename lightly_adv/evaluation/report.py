"""What an evaluation found, as numbers, as text and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lightly_adv.attacks import Attack
from lightly_adv.evaluation import breakdown, intervals
from lightly_adv.evaluation import formatting as distances
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.threat_model import ThreatModel

VERSIONS_OF = ("lightly-adv", "lightly", "torch", "timm")
"""Distributions whose versions are written into a report."""


@dataclass(frozen=True, eq=False)
class RobustnessReport:
    """Clean and robust accuracy of one model under one threat model.

    Args:
        suite: Label of the suite.
        threat_model: What the attacks were allowed to do.
        flags: One bool tensor (N,) per attack, after "clean": whether an image is
            still right under this attack and all that ran before it. The last one
            holds the worst case over the whole suite.
        attacks: For each attack, the numbers it ran with; see `describe`.
        seed: Seed of the noise.
        warnings: What casts doubt on the numbers.
        notes: What was done in another way than the suite does as a rule, for instance
            because there are few classes.
        checks: What was looked at to tell whether the numbers can be believed; each
            that says "WARN" stands among the warnings, too.
        labels: The right class of each image, (N,).
        predictions: What each image is taken for, (N,): "clean" without an attack,
            "attacked" as the first attack that breaks it has left it.
        data_digest: Digest of all images and labels, however they are batched.
        batch_size: How many images were attacked at once; the noise hangs on it.
        device: Type of the device, such as "cuda".

    Examples:
        >>> import torch
        >>> report = RobustnessReport(
        ...     suite="pgd-20",
        ...     threat_model=ThreatModel(eps=8 / 255),
        ...     flags={
        ...         "clean": torch.tensor([True, True, False]),
        ...         "pgd": torch.tensor([True, False, False]),
        ...     },
        ... )
        >>> print(report)
        clean 66.7 %, robust 33.3 % (pgd-20, Linf 8/255, 3 images)
    """

    suite: str
    threat_model: ThreatModel
    flags: Mapping[str, Tensor]
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seed: int = 0
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checks: Sequence[Check] = ()
    labels: Tensor | None = None
    predictions: Mapping[str, Tensor] = field(default_factory=dict)
    data_digest: str = ""
    batch_size: int | None = None
    device: str | None = None

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.flags["clean"])

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are right without an attack, in percent."""
        return _percent(self.flags["clean"])

    @property
    def robust_accuracy(self) -> float:
        """Share of images that no attack of the suite breaks, in percent."""
        return _percent(self.flags[list(self.flags)[-1]])

    @property
    def label(self) -> str:
        """What has to be said with every number: suite, threat model, images."""
        noun = "image" if self.num_samples == 1 else "images"
        ball = distances.ball(self.threat_model)
        return f"{self.suite}, {ball}, {self.num_samples:,} {noun}"

    def __str__(self) -> str:
        """Return one line, and one more per warning and note."""
        numbers = (
            f"clean {self.clean_accuracy:.1f} %, robust {self.robust_accuracy:.1f} %"
        )
        warnings = [f"warning: {each}" for each in self.warnings]
        notes = [f"note: {each}" for each in self.notes]
        return "\n".join([f"{numbers} ({self.label})", *warnings, *notes])

    def row(self, name: str = "model") -> dict[str, Any]:
        """Return the numbers in one row, for tables and figures.

        Args:
            name: Name of the row. Results of the same name are taken for seeds.
        """
        return {
            "name": name,
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "suite": self.suite,
            "norm": self.threat_model.norm,
            "eps": self.threat_model.eps,
            "eps_text": distances.fraction(self.threat_model.eps),
            "num_samples": self.num_samples,
        }

    def to_json(self, *, name: str = "model", indent: int | None = None) -> str:
        """Write the report as JSON: numbers, flags as 0 and 1, settings, versions.

        Args:
            name: Name of the row of this model.
            indent: As for `json.dumps`.

        Returns:
            A JSON object. Its list `rows` has one row, with `name`, `clean_accuracy`
            and `robust_accuracy` in percent; to compare models, put their rows
            together.
        """
        content = {
            "rows": [self.row(name)],
            "threat_model": describe_threat_model(self.threat_model),
            "data": {"digest": self.data_digest, "num_samples": self.num_samples},
            "intervals": self.intervals(),
            "attacks": self._attacks_with_results(),
            # Tools sort keys, so that their order cannot say which attack was last.
            "attack_order": list(self.flags),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.device,
            "warnings": self.warnings,
            "notes": self.notes,
            "checks": [check.to_dict() for check in self.checks],
            "versions": versions(),
            "flags": {name: flag.int().tolist() for name, flag in self.flags.items()},
            **self._by_class(),
        }
        return json.dumps(content, indent=indent)

    def intervals(self) -> dict[str, list[float]]:
        """Return the 95 % interval of the accuracy after each attack, in percent.

        It tells how far the accuracy on all images of this kind may be from that on
        these; see `intervals.wilson`.
        """
        return {
            name: list(intervals.wilson(int(flag.sum()), len(flag)))
            for name, flag in self.flags.items()
        }

    def _by_class(self) -> dict[str, Any]:
        """Return what is known where the labels are: predictions, and per class."""
        if self.labels is None:
            return {}
        return {
            "labels": self.labels.tolist(),
            "predictions": {n: each.tolist() for n, each in self.predictions.items()},
            "per_class": breakdown.per_class(self.labels, self.flags),
        }

    def _attacks_with_results(self) -> dict[str, dict[str, Any]]:
        return {
            name: {**numbers, "robust_accuracy": _percent(self.flags[name])}
            for name, numbers in self.attacks.items()
        }


def describe(attack: Attack) -> dict[str, Any]:
    """Return the numbers an attack runs with, ready for JSON.

    Examples:
        >>> from lightly_adv import PGD
        >>> numbers = describe(PGD(ThreatModel(eps=0.5), steps=20))
        >>> numbers["type"], numbers["steps"], numbers["step_size"]
        ('PGD', 20, 0.125)
    """
    return attack.settings()


def versions() -> dict[str, str | None]:
    """Return the versions that a number depends on; None where not installed."""
    found: dict[str, str | None] = {}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _percent(flags: Tensor) -> float:
    return 100 * int(flags.sum()) / len(flags)


def describe_threat_model(threat_model: ThreatModel) -> dict[str, Any]:
    """Return what a threat model allows, ready for JSON."""
    normalize = threat_model.normalize
    return {
        "norm": threat_model.norm,
        "eps": threat_model.eps,
        "eps_text": distances.fraction(threat_model.eps),
        "bounds": list(threat_model.bounds),
        "normalize": normalize
        and {key: [float(v) for v in normalize[key]] for key in ("mean", "std")},
    }
