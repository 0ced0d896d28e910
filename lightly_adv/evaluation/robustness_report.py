"""Clean and robust accuracy of one model under one threat model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightly_adv.evaluation import breakdown, formatting, report, statistics
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.report import Report
from lightly_adv.json_files import Need, Needs, has, is_list, is_text
from lightly_adv.threat_model import ThreatModel


@dataclass(frozen=True, eq=False, kw_only=True)
class RobustnessReport(Report):
    """Clean and robust accuracy of one model under one threat model.

    Args:
        suite: Label of the suite.
        threat_model: What the attacks were allowed to do.
        flags: One bool tensor (N,) per attack, after "clean": whether an image is
            still correctly classified under this attack and all that ran before it.
            The last one holds the worst case over the whole suite.
        attacks: For each attack, the numbers it ran with; see `Attack.settings`.
        checks: Checks of whether the numbers can be believed; each that says "WARN" is
            among the warnings, too.
        labels: The true class of each image, (N,).
        predictions: Predicted class of each image, (N,): "clean" without an attack,
            "attacked" under the first attack that misleads the model.

    Examples:
        >>> import torch
        >>> found = RobustnessReport(
        ...     suite="pgd-20",
        ...     threat_model=ThreatModel(eps=8 / 255),
        ...     flags={
        ...         "clean": torch.tensor([True, True, False]),
        ...         "pgd": torch.tensor([True, False, False]),
        ...     },
        ... )
        >>> print(found)
        clean 66.7 %, robust 33.3 % (pgd-20, Linf 8/255, 3 images)
        >>> print(RobustnessReport.from_json(found.to_json()))
        clean 66.7 %, robust 33.3 % (pgd-20, Linf 8/255, 3 images)
    """

    suite: str
    threat_model: ThreatModel
    flags: Mapping[str, Tensor]
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    labels: Tensor | None = None
    predictions: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.flags["clean"])

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are correctly classified without an attack, in %."""
        return statistics.percent(self.flags["clean"])

    @property
    def robust_accuracy(self) -> float:
        """Share of images that are correctly classified under every attack, in %."""
        return statistics.percent(self.flags[list(self.flags)[-1]])

    @property
    def label(self) -> str:
        """What has to be said with every number: suite, threat model, images."""
        ball = formatting.ball(self.threat_model)
        return f"{self.suite}, {ball}, {report.images(self.num_samples)}"

    @property
    def summary(self) -> str:
        """Both accuracies."""
        return f"clean {self.clean_accuracy:.1f} %, robust {self.robust_accuracy:.1f} %"

    def row(self, name: str | None = None) -> dict[str, Any]:
        """Return the numbers in one row, for tables and figures.

        Args:
            name: Name of the row. Defaults to that of the model.
        """
        return {
            "name": self.name if name is None else name,
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "suite": self.suite,
            "norm": self.threat_model.norm,
            "eps": self.threat_model.eps,
            "eps_text": formatting.fraction(self.threat_model.eps),
            "num_samples": self.num_samples,
        }

    def intervals(self) -> dict[str, list[float]]:
        """Return the 95 % interval of the accuracy after each attack, in percent."""
        return {name: statistics.interval(flag) for name, flag in self.flags.items()}

    def results(self) -> dict[str, Any]:
        """Return accuracies, intervals and flags, attacks and checks."""
        return {
            "suite": self.suite,
            "intervals": self.intervals(),
            "attacks": {
                name: {
                    **settings,
                    "robust_accuracy": statistics.percent(self.flags[name]),
                }
                for name, settings in self.attacks.items()
            },
            # Tools sort keys, so that their order cannot say which attack was last.
            "attack_order": list(self.flags),
            "checks": [check.to_dict() for check in self.checks],
            "flags": {name: report.to_marks(flag) for name, flag in self.flags.items()},
            **self._by_class(),
        }

    def _by_class(self) -> dict[str, Any]:
        """Return labels, predictions and accuracies per class, where there are any."""
        if self.labels is None:
            return {}
        return {
            "labels": self.labels.tolist(),
            "predictions": {
                name: classes.tolist() for name, classes in self.predictions.items()
            },
            "per_class": breakdown.per_class(self.labels, self.flags),
        }

    @classmethod
    def needs(cls, content: Mapping[str, Any]) -> Needs:
        """Return what the JSON of such a report has to hold, besides the facts."""

        def are_classes(part: Any) -> bool:
            count = len(content["flags"]["clean"])
            return is_list(part, lambda number: type(number) is int, length=count)

        return {
            "threat_model": Need(bool, "norm, eps and two bounds"),
            "suite": Need(is_text, "the name of the suite"),
            "flags": Need(_are_flags, "0 or 1 for each image, clean and per attack"),
            "attack_order": Need(
                lambda part: _is_order(part, content["flags"]),
                "the names in flags, clean first, each leaving only images that the "
                "one before it has left",
            ),
            "attacks": Need(
                lambda part: _are_settings(part, content["flags"]),
                "the settings of each attack",
            ),
            "checks": Need(_are_checks, "a list of checks"),
            "labels": Need(lambda x: x is None or are_classes(x), "class numbers"),
            "predictions": Need(
                lambda part: (
                    part is None
                    or (isinstance(part, dict) and all(map(are_classes, part.values())))
                ),
                "class numbers",
            ),
        }

    @classmethod
    def read_results(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that `results` was made of."""
        labels = content.get("labels")
        predictions = content.get("predictions") or {}
        return {
            "suite": content["suite"],
            "flags": {
                name: report.to_flags(content["flags"][name])
                for name in content["attack_order"]
            },
            "attacks": {
                name: {k: v for k, v in numbers.items() if k != "robust_accuracy"}
                for name, numbers in content["attacks"].items()
            },
            "checks": [Check(**check) for check in content["checks"]],
            "labels": None if labels is None else torch.tensor(labels),
            "predictions": {n: torch.tensor(each) for n, each in predictions.items()},
        }


def _are_flags(part: Any) -> bool:
    if not has(part, "clean") or not all(map(report.are_marks, part.values())):
        return False
    return len({len(marks) for marks in part.values()}) == 1


def _are_settings(part: Any, flags: Mapping[str, Any]) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() <= flags.keys()
        and all(isinstance(settings, dict) for settings in part.values())
    )


def _are_checks(part: Any) -> bool:
    try:
        return is_list(part, lambda check: bool(Check(**check)))
    except (TypeError, ValueError):
        return False


def _is_order(order: Any, flags: Mapping[str, list[int]]) -> bool:
    """Return whether each attack leaves only images that those before have left."""
    return (
        is_list(order, is_text)
        and sorted(order) == sorted(flags)
        and order[0] == "clean"
        and all(
            after <= before
            for one, other in itertools.pairwise(order)
            for before, after in zip(flags[one], flags[other], strict=True)
        )
    )
