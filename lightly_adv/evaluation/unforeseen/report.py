"""What the unforeseen attacks found, as numbers, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightly_adv.evaluation import formatting, intervals, report
from lightly_adv.evaluation.unforeseen import panels
from lightly_adv.evaluation.unforeseen.attacks import UnforeseenAttack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATED_SIZE = (32, 32)
"""Size of the images that the calibration was made for."""

CALIBRATED_CLASSES = 10
"""Number of classes that it was made for."""


@dataclass(frozen=True, eq=False)
class UnforeseenReport:
    """Accuracy under each of several attacks, at several strengths.

    Args:
        attacks: The attacks, in the order that they were run.
        clean: Whether each image is right without an attack, of shape (N,).
        flags: By name of the attack, whether each image is right under it, of shape
            (strengths, N).
        image_size: Height and width of the images.
        num_classes: Number of classes that the model tells apart.
        steps: Number of steps of every attack.
        seed: Seed of starts and targets.
        warnings: What casts doubt on the numbers.
        data_digest: Digest of all images and labels, however they are batched.
        batch_size: How many images were attacked at once; what is drawn hangs on it.
        device: Type of the device, such as "cuda".

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

    attacks: Sequence[UnforeseenAttack]
    clean: Tensor
    flags: Mapping[str, Tensor]
    image_size: tuple[int, int]
    num_classes: int
    steps: int
    seed: int = 0
    warnings: list[str] = field(default_factory=list)
    data_digest: str = ""
    batch_size: int | None = None
    device: str | None = None

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.clean)

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are right without an attack, in percent."""
        return _percent(self.clean)

    @property
    def accuracies(self) -> dict[str, tuple[float, ...]]:
        """By attack, the accuracy at each strength, in percent."""
        return {
            name: tuple(_percent(row) for row in flags)
            for name, flags in self.flags.items()
        }

    @property
    def mean_accuracy(self) -> float:
        """Mean over attacks of the mean over their strengths, in percent."""
        return _mean([_mean(values) for values in self.accuracies.values()])

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
        return _mean(list(self.uar.values())) if self.uar else None

    @property
    def label(self) -> str:
        """What has to be said with every number: attacks, steps, images."""
        noun = "image" if self.num_samples == 1 else "images"
        return f"{self._suite}, {self.num_samples:,} {noun}"

    def __str__(self) -> str:
        """Return one line, and one more per warning."""
        numbers = f"clean {self.clean_accuracy:.1f} %, mean {self.mean_accuracy:.1f} %"
        if self.mean_uar is not None:
            numbers += f", mUAR {self.mean_uar:.1f}"
        return "\n".join(
            [f"{numbers} ({self.label})", *(f"warning: {w}" for w in self.warnings)]
        )

    def row(self, name: str = "model") -> dict[str, Any]:
        """Return the numbers in one row; robust is the mean over all attacks.

        Args:
            name: Name of the row. Results of the same name are taken for seeds.
        """
        means = {f"{key}_accuracy": _mean(v) for key, v in self.accuracies.items()}
        return {
            "name": name,
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.mean_accuracy,
            "mean_uar": self.mean_uar,
            **means,
            "suite": f"mean over {self._suite}",
            "steps": self.steps,
            "num_samples": self.num_samples,
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each attack: accuracies, their mean, and UAR."""
        return [
            {
                "attack": attack.name,
                **{f"eps_{k}": v for k, v in enumerate(self._of(attack), start=1)},
                "mean": _mean(self._of(attack)),
                "uar": self.uar.get(attack.name),
            }
            for attack in self.attacks
        ]

    def to_json(self, *, name: str = "model", indent: int | None = None) -> str:
        """Write the report as JSON: numbers, flags as 0 and 1, settings, versions.

        Args:
            name: Name of the row of this model.
            indent: As for `json.dumps`.
        """
        content = {
            "rows": [self.row(name)],
            "attacks": {
                attack.name: self._described(attack) for attack in self.attacks
            },
            "data": {"digest": self.data_digest, "num_samples": self.num_samples},
            "clean_interval": list(
                intervals.wilson(int(self.clean.sum()), self.num_samples)
            ),
            "steps": self.steps,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.device,
            "image_size": list(self.image_size),
            "num_classes": self.num_classes,
            "warnings": self.warnings,
            "versions": report.versions(),
            "flags": {
                "clean": self.clean.int().tolist(),
                **{name: flags.int().tolist() for name, flags in self.flags.items()},
            },
        }
        return json.dumps(content, indent=indent)

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
                    accuracies=self._of(attack),
                    best=attack.ata if attack.name in self.uar else None,
                )
                for attack in self.attacks
            ],
            clean_accuracy=self.clean_accuracy,
            title=self.label,
        )

    @property
    def _suite(self) -> str:
        kinds = "attack" if len(self.attacks) == 1 else "attacks"
        return f"{len(self.attacks)} unforeseen {kinds}, {self.steps} steps"

    def _of(self, attack: UnforeseenAttack) -> tuple[float, ...]:
        return self.accuracies[attack.name]

    def _described(self, attack: UnforeseenAttack) -> dict[str, Any]:
        return {
            "eps": list(attack.eps),
            "eps_text": [formatting.fraction(value) for value in attack.eps],
            "unit": attack.unit,
            "accuracies": list(self._of(attack)),
            "intervals": [
                list(intervals.wilson(int(row.sum()), len(row)))
                for row in self.flags[attack.name]
            ],
            "ata": None if attack.ata is None else list(attack.ata),
            "uar": self.uar.get(attack.name),
            "source": attack.source,
        }


def _percent(flags: Tensor) -> float:
    return 100 * int(flags.sum()) / len(flags)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
