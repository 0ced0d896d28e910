"""Clean and robust accuracy of one model under one threat model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightly_adv.evaluation import breakdown, encoding, statistics
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.encoding import Flags, Integers
from lightly_adv.evaluation.report import Report
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

    Raises:
        ValueError: If flags, labels and predictions are not about the same images, or
            if an attack leaves an image that one before it has not left.

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
    flags: Mapping[str, Flags]
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    labels: Integers | None = None
    predictions: Mapping[str, Integers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        order = list(self.flags.values())
        if next(iter(self.flags), "") != "clean" or any(
            flags.shape != order[0].shape or flags.dim() != 1 or not len(flags)
            for flags in order
        ):
            raise ValueError("flags: expected one or more images, clean and per attack")
        if any((after & ~before).any() for before, after in itertools.pairwise(order)):
            raise ValueError(
                "flags, attack_order: expected each attack to leave only images that "
                "the one before it has left"
            )
        if not self.attacks.keys() <= self.flags.keys():
            raise ValueError("attacks: expected attacks that flags has")
        classes = [self.predictions[name] for name in self.predictions]
        classes += [] if self.labels is None else [self.labels]
        if any(each.shape != order[0].shape for each in classes):
            raise ValueError("labels, predictions: expected a class for each image")

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
    def conditions(self) -> str:
        """The suite."""
        return self.suite

    @property
    def summary(self) -> str:
        """Both accuracies."""
        return f"clean {self.clean_accuracy:.1f} %, robust {self.robust_accuracy:.1f} %"

    def numbers(self) -> dict[str, Any]:
        """Return both accuracies, and the suite."""
        return {
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "suite": self.suite,
        }

    def intervals(self) -> dict[str, list[float]]:
        """Return the 95 % interval of the accuracy after each attack, in percent."""
        return {name: statistics.interval(flag) for name, flag in self.flags.items()}

    def derived(self) -> dict[str, Any]:
        """Return accuracies and intervals, per attack and per class."""
        content: dict[str, Any] = {
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
        }
        if self.labels is not None:
            content["per_class"] = breakdown.per_class(self.labels, self.flags)
        return content

    @classmethod
    def in_order(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON with the attacks in the order in which they ran."""
        order = encoding.decode(list[str], content.get("attack_order"), "attack_order")
        flags = encoding.decode(Mapping[str, Any], content.get("flags"), "flags")
        attacks = encoding.decode(
            Mapping[str, Mapping[str, Any]], content.get("attacks"), "attacks"
        )
        if sorted(order) != sorted(flags):
            raise ValueError(f"attack_order is {order}, expected the names in flags")
        return {
            **content,
            "flags": {name: flags[name] for name in order},
            "attacks": {
                name: {k: v for k, v in settings.items() if k != "robust_accuracy"}
                for name, settings in attacks.items()
            },
        }
