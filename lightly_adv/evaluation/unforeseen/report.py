"""Accuracy under unforeseen attacks, as numbers, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightly_adv.evaluation import formatting, statistics
from lightly_adv.evaluation.checks import outputs
from lightly_adv.evaluation.sweep import SweepReport
from lightly_adv.evaluation.unforeseen import figure
from lightly_adv.evaluation.unforeseen.attack import Strengths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATED_SIZE = (32, 32)
"""Size of the images that the calibration was made for."""

CALIBRATED_CLASSES = 10
"""Number of classes that it was made for."""

CALIBRATED_STEPS = 200
"""Number of steps that it was made with."""

WIDEST = 10.0
"""Largest half width of a 95 % interval, in percent points, without a warning."""


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
        >>> from lightly_adv.evaluation.unforeseen import create_unforeseen_attack
        >>> found = UnforeseenReport(
        ...     attacks=[
        ...         create_unforeseen_attack(name).strengths
        ...         for name in ("elastic", "fog")
        ...     ],
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

    def __post_init__(self) -> None:
        """Validate the arguments."""
        super().__post_init__()
        sizes = {name: len(flags) for name, flags in self.flags.items()}
        if sizes != {attack.name: len(attack.eps) for attack in self.attacks}:
            raise ValueError(
                f"flags has {sizes} levels, expected one for each strength of attacks"
            )

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
    def conditions(self) -> str:
        """Attacks and steps."""
        kinds = "attack" if len(self.attacks) == 1 else "attacks"
        return f"{len(self.attacks)} unforeseen {kinds}, {self.steps} steps"

    @property
    def summary(self) -> str:
        """Clean accuracy and the means."""
        numbers = f"clean {self.clean_accuracy:.1f} %, mean {self.mean_accuracy:.1f} %"
        return numbers + (f", mUAR {self.mean_uar:.1f}" if self.uar else "")

    @property
    def suite(self) -> str:
        """What the mean accuracy is a mean of."""
        return f"mean over {self.conditions}"

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of every sweep, and the mean UAR."""
        return {**super().numbers(), "mean_uar": self.mean_uar, "steps": self.steps}

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

    def details(self, name: str) -> dict[str, Any]:
        """Return the strengths of an attack as text, and its UAR."""
        (attack,) = (each for each in self.attacks if each.name == name)
        eps_text = [formatting.fraction(value) for value in attack.eps]
        return {"eps_text": eps_text, "uar": self.uar.get(name)}

    def caveats(self, *, probabilities: bool) -> Iterator[str]:
        """Yield reasons to doubt the numbers.

        Args:
            probabilities: Whether the model returned probabilities for all batches.
        """
        if probabilities:
            yield outputs.probabilities(True).warning
        # Of a share of one half, where it is widest.
        width = 100 * statistics.Z95 * math.sqrt(0.25 / self.num_samples)
        if width > WIDEST:
            yield (
                f"there are only {self.num_samples} images, so that an accuracy is "
                f"uncertain by up to {min(width, 50.0):.0f} points (95 %); evaluate "
                "more."
            )
        if all(attack.ata is None for attack in self.attacks):
            return
        height, width = self.image_size
        if self.image_size != CALIBRATED_SIZE:
            yield (
                f"the images are {height} x {width}; the strengths are those for 32 x "
                "32, so there is no UAR."
            )
        elif self.num_classes != CALIBRATED_CLASSES:
            yield (
                f"there are {self.num_classes} classes; the calibration was made for "
                "CIFAR-10, so there is no UAR."
            )
        elif self.steps < CALIBRATED_STEPS:
            yield (
                f"{self.steps} steps are fewer than the {CALIBRATED_STEPS} that the "
                "calibration was made with, so that the UAR is too high."
            )

    def figure(self) -> Figure:
        """Draw accuracy over strength, one panel for each attack.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return figure.strength_curves(
            [
                figure.StrengthCurve(
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
