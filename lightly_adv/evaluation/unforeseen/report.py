"""Accuracy under unforeseen attacks, as numbers, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightly_adv.evaluation import formatting, report, statistics
from lightly_adv.evaluation.sweep_report import SweepReport
from lightly_adv.evaluation.unforeseen import panels
from lightly_adv.evaluation.unforeseen.attacks import Origin, Strengths
from lightly_adv.json_files import Need, Needs, has, is_list, is_number, is_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATED_SIZE = (32, 32)
"""Size of the images that the calibration was made for."""

CALIBRATED_CLASSES = 10
"""Number of classes that it was made for."""


@dataclass(frozen=True, eq=False, kw_only=True)
class UnforeseenReport(SweepReport):
    """Accuracy under each of several attacks, at several strengths.

    Args:
        attacks: The attacks, in the order that they were run.
        clean: Whether each image is correctly classified as it is, of shape (N,).
        flags: By name of the attack, whether each image is correctly classified under
            it, of shape (strengths, N).
        image_size: Height and width of the images.
        num_classes: Number of classes that the model tells apart.
        steps: Number of steps of every attack.

    Examples:
        >>> import torch
        >>> from lightly_adv.evaluation.unforeseen.attacks import ATTACKS
        >>> found = UnforeseenReport(
        ...     attacks=(ATTACKS["elastic"], ATTACKS["fog"]),
        ...     clean=torch.tensor([True, True]),
        ...     flags={
        ...         "elastic": torch.tensor([[True, True], *[[True, False]] * 5]),
        ...         "fog": torch.tensor([[True, False]] * 6),
        ...     },
        ...     image_size=(32, 32),
        ...     num_classes=10,
        ...     steps=200,
        ... )
        >>> found.accuracies["elastic"]
        (100.0, 50.0, 50.0, 50.0, 50.0, 50.0)
        >>> {name: round(value, 1) for name, value in found.uar.items()}
        {'elastic': 94.0}
        >>> found.label
        '2 unforeseen attacks, 200 steps, 2 images'
    """

    attacks: Sequence[Strengths]
    num_classes: int
    steps: int

    @property
    def uar(self) -> dict[str, float]:
        """Unforeseen attack robustness, where an attack is calibrated.

        100 * (sum of accuracies) / (sum of those of the networks that were trained
        against the attack). Empty for images of another size than 32 x 32, and for
        another number of classes than 10.
        """
        if (self.image_size, self.num_classes) != (CALIBRATED_SIZE, CALIBRATED_CLASSES):
            return {}
        return {
            attack.name: 100 * sum(self.accuracies[attack.name]) / sum(attack.ata)
            for attack in self.attacks
            if attack.ata is not None
        }

    @property
    def mean_uar(self) -> float | None:
        """Mean of `uar` over the calibrated attacks; None if there is none."""
        return statistics.mean(list(self.uar.values())) if self.uar else None

    @property
    def label(self) -> str:
        """What has to be said with every number: attacks, steps, images."""
        return f"{self._attacks}, {report.images(self.num_samples)}"

    @property
    def summary(self) -> str:
        """Clean accuracy and the means."""
        numbers = f"clean {self.clean_accuracy:.1f} %, mean {self.mean_accuracy:.1f} %"
        return numbers + (f", mUAR {self.mean_uar:.1f}" if self.uar else "")

    @property
    def suite(self) -> str:
        """What the mean accuracy is a mean of."""
        return f"mean over {self._attacks}"

    def row(self, name: str | None = None) -> dict[str, Any]:
        """Return the numbers in one row; robust is the mean over all attacks.

        Args:
            name: Name of the row. Defaults to that of the model.
        """
        return {**super().row(name), "mean_uar": self.mean_uar, "steps": self.steps}

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each attack: accuracies, their mean, and UAR."""
        return [
            {
                "attack": name,
                **{f"eps_{k}": value for k, value in enumerate(values, start=1)},
                "mean": self.means[name],
                "uar": self.uar.get(name),
            }
            for name, values in self.accuracies.items()
        ]

    def describe(self, member: str) -> dict[str, Any]:
        """Return the strengths of an attack, and what is known of them."""
        (attack,) = (each for each in self.attacks if each.name == member)
        return {
            "eps": list(attack.eps),
            "eps_text": [formatting.fraction(value) for value in attack.eps],
            "unit": attack.unit,
            "ata": None if attack.ata is None else list(attack.ata),
            "uar": self.uar.get(member),
            "source": attack.source,
        }

    def results(self) -> dict[str, Any]:
        """Return accuracies with intervals, settings and flags."""
        numbers = {"steps": self.steps, "num_classes": self.num_classes}
        return {**super().results(), **numbers}

    @classmethod
    def needs(cls, content: Mapping[str, Any]) -> Needs:
        """Return what the JSON of such a report has to hold, besides the facts."""
        number = Need(lambda part: type(part) is int, "an integer")
        return {
            **super().needs(content),
            "members": Need(
                lambda part: (
                    is_list(part, lambda x: _is_member(x, content["flags"]))
                    and bool(part)
                ),
                "a list of attacks, with a strength for each level in flags",
            ),
            "steps": number,
            "num_classes": number,
        }

    @classmethod
    def read_results(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that `results` was made of."""
        return {
            **super().read_results(content),
            "attacks": [_read_strengths(member) for member in content["members"]],
            "steps": content["steps"],
            "num_classes": content["num_classes"],
        }

    def figure(self) -> Figure:
        """Draw accuracy over strength, one panel for each attack.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return panels.strength_panels(
            [
                panels.Panel(
                    attack.name,
                    strengths=tuple(formatting.fraction(value) for value in attack.eps),
                    unit=attack.unit,
                    accuracies=self.accuracies[attack.name],
                    best=attack.ata if attack.name in self.uar else None,
                )
                for attack in self.attacks
            ],
            clean_accuracy=self.clean_accuracy,
            title=self.label,
        )

    @property
    def _attacks(self) -> str:
        kinds = "attack" if len(self.attacks) == 1 else "attacks"
        return f"{len(self.attacks)} unforeseen {kinds}, {self.steps} steps"


def _is_member(part: Any, flags: Mapping[str, Any]) -> bool:
    return (
        has(part, "name", "eps", "unit", "source", "ata")
        and part["name"] in flags
        and all(is_text(part[key]) for key in ("unit", "source"))
        and is_list(part["eps"], is_number, length=len(flags[part["name"]]))
        and (
            part["ata"] is None
            or is_list(part["ata"], is_number, length=len(part["eps"]))
        )
    )


def _read_strengths(member: Mapping[str, Any]) -> Strengths:
    eps, ata = tuple(member["eps"]), member["ata"]
    return Strengths(
        name=member["name"],
        eps=eps,
        unit=member["unit"],
        origin=Origin(eps, member["source"], None if ata is None else tuple(ata)),
    )
