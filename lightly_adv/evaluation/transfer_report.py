"""How far perturbations of one model mislead the others, as numbers and as a figure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightly_adv.attacks import Attack
from lightly_adv.evaluation import figures, formatting, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class TransferReport:
    """How far perturbations made for one model mislead the others.

    Args:
        names: Names of the models, in the order of rows and columns.
        clean_accuracy: Accuracy of each model on clean images, in percent.
        accuracy: `accuracy[i][j]` is the accuracy of model j, in percent, on images
            that were perturbed for model i.
        cosine: `cosine[i][j]` is the cosine between the perturbations made for i and
            for j, as they lie in the images; the mean over images.
        attack: The attack.
        num_samples: Number of images.
        seed: Seed of questions and noise.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> found = TransferReport(
        ...     names=("rotation", "jigsaw"),
        ...     clean_accuracy=(80.0, 60.0),
        ...     accuracy=((31.25, 52.0), (71.0, 20.0)),
        ...     cosine=((1.0, 0.12), (0.12, 1.0)),
        ...     attack=PGD(ThreatModel(eps=8 / 255), steps=20),
        ...     num_samples=500,
        ... )
        >>> found.rows()[0]["robust_accuracy"], found.label
        (31.25, 'PGD-20, Linf 8/255, 500 images')
    """

    names: tuple[str, ...]
    clean_accuracy: tuple[float, ...]
    accuracy: Matrix
    cosine: Matrix
    attack: Attack
    num_samples: int
    seed: int = 0

    @property
    def label(self) -> str:
        """What has to be said with every number: attack, threat model, images."""
        kind = f"{type(self.attack).__name__}-{self.attack.steps}"
        noun = "image" if self.num_samples == 1 else "images"
        ball = formatting.ball(self.attack.threat_model)
        return f"{kind}, {ball}, {self.num_samples:,} {noun}"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each model; robust is its accuracy under its own attack."""
        return [
            {
                "name": name,
                "clean_accuracy": self.clean_accuracy[index],
                "robust_accuracy": self.accuracy[index][index],
            }
            for index, name in enumerate(self.names)
        ]

    def to_json(self, *, indent: int | None = None) -> str:
        """Write everything as JSON: rows, matrices, settings and versions."""
        content = {
            "rows": self.rows(),
            "names": self.names,
            "accuracy": self.accuracy,
            "cosine": self.cosine,
            "threat_model": report.describe_threat_model(self.attack.threat_model),
            "attack": report.describe(self.attack),
            "num_samples": self.num_samples,
            "seed": self.seed,
            "versions": report.versions(),
        }
        return json.dumps(content, indent=indent)

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
