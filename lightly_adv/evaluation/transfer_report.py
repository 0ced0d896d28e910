"""Accuracy of models under the perturbations made for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightly_adv.evaluation import figures, formatting
from lightly_adv.evaluation.report import Report
from lightly_adv.threat_model import ThreatModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class TransferReport(Report):
    """How far perturbations made for one model mislead the others.

    Args:
        names: Names of the models, in the order of rows and columns.
        clean_accuracy: Accuracy of each model on clean images, in percent.
        accuracy: `accuracy[i][j]` is the accuracy of model j, in percent, on images
            that were perturbed for model i.
        cosine: `cosine[i][j]` is the cosine between the perturbations made for i and
            for j, as they lie in the images; the mean over images.
        attack: The numbers that the attack ran with; see `Attack.settings`.
        threat_model: What it was allowed to do.
        num_samples: Number of images.

    Examples:
        >>> from lightly_adv import PGD
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=20)
        >>> found = TransferReport(
        ...     names=("rotation", "jigsaw"),
        ...     clean_accuracy=(80.0, 60.0),
        ...     accuracy=((31.25, 52.0), (71.0, 20.0)),
        ...     cosine=((1.0, 0.12), (0.12, 1.0)),
        ...     attack=attack.settings(),
        ...     threat_model=attack.threat_model,
        ...     num_samples=500,
        ... )
        >>> found.rows()[0]["robust_accuracy"], found.label
        (31.25, 'PGD-20, Linf 8/255, 500 images')
    """

    names: tuple[str, ...]
    clean_accuracy: tuple[float, ...]
    accuracy: Matrix
    cosine: Matrix
    attack: Mapping[str, Any]
    threat_model: ThreatModel
    num_samples: int

    def __post_init__(self) -> None:
        """Validate the arguments."""
        count = len(self.names)
        lengths = map(len, (self.clean_accuracy, *self.accuracy, *self.cosine))
        if not count or {count} != {len(self.accuracy), len(self.cosine), *lengths}:
            raise ValueError(
                f"names={self.names}; expected one or more, and a number for each of "
                "them in clean_accuracy and for each pair in accuracy and cosine."
            )

    @property
    def conditions(self) -> str:
        """The attack."""
        return formatting.attack(self.attack)

    @property
    def summary(self) -> str:
        """Clean and robust accuracy of each model."""
        return "; ".join(
            f"{row['name']} clean {row['clean_accuracy']:.1f} %, robust "
            f"{row['robust_accuracy']:.1f} %"
            for row in self.rows()
        )

    def numbers(self, index: int = 0) -> dict[str, Any]:
        """Return the accuracies of one model; robust is that under its own attack."""
        return {
            "clean_accuracy": self.clean_accuracy[index],
            "robust_accuracy": self.accuracy[index][index],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model."""
        names = enumerate(self.names)
        return [{"name": name, **self.numbers(index)} for index, name in names]

    def figure(self) -> Figure:
        """Draw both matrices; see `figures.transfer_maps`.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return figures.transfer_maps(
            self.names,
            clean_accuracy=self.clean_accuracy,
            accuracy=self.accuracy,
            cosine=self.cosine,
            title=self.label,
        )
