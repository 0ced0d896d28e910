"""What the corruptions found, as numbers, as text, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightly_adv.evaluation import figures, intervals, report
from lightly_adv.evaluation.corruptions.table import COMMON, CORRUPTIONS, SOURCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = "C-style"
"""What images are called that are corrupted on the fly; never CIFAR-10-C."""


@dataclass(frozen=True, eq=False)
class CorruptionReport:
    """Accuracy under each of several corruptions, at several severities.

    Args:
        clean: Whether each image is right as it is, of shape (N,).
        flags: By name of the corruption, whether each image is right under it, of
            shape (severities, N).
        severities: Which severities, in rising order.
        image_size: Height and width of the images.
        seed: Seed of the draws.
        source: Where the corrupted images come from: `STYLE`, or a folder.
        warnings: What casts doubt on the numbers.
        data_digest: Digest of all clean images and labels, however they are batched.

    Examples:
        >>> import torch
        >>> found = CorruptionReport(
        ...     clean=torch.tensor([True, True]),
        ...     flags={
        ...         "fog": torch.tensor([[True, True], [True, False]]),
        ...         "snow": torch.tensor([[True, False], [False, False]]),
        ...     },
        ...     severities=(1, 5),
        ...     image_size=(32, 32),
        ... )
        >>> found.accuracies["fog"], found.mean_accuracy, found.mean_corruption_error
        ((100.0, 50.0), 50.0, 50.0)
        >>> print(str(found).partition(" (")[0])
        clean 100.0 %, mean over 2 corruptions 50.0 %
        >>> found.label
        'C-style, severities 1 5, 2 images'
    """

    clean: Tensor
    flags: Mapping[str, Tensor]
    severities: Sequence[int]
    image_size: tuple[int, int]
    seed: int = 0
    source: str = STYLE
    warnings: list[str] = field(default_factory=list)
    data_digest: str = ""

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.clean)

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are right as they are, in percent."""
        return _percent(self.clean)

    @property
    def accuracies(self) -> dict[str, tuple[float, ...]]:
        """By corruption, the accuracy at each severity, in percent."""
        return {
            name: tuple(_percent(row) for row in flags)
            for name, flags in self.flags.items()
        }

    @property
    def mean_accuracy(self) -> float:
        """Mean over all corruptions that were run, and over severities, in percent."""
        return _mean([_mean(values) for values in self.accuracies.values()])

    @property
    def mean_corruption_error(self) -> float:
        """What is missing from `mean_accuracy` to 100 %.

        It is not divided by the error of another network, as it is for ImageNet-C.
        """
        return 100 - self.mean_accuracy

    @property
    def common_accuracy(self) -> float | None:
        """Mean over the 15 corruptions of the benchmark; None if not all were run."""
        found = self.accuracies
        if not set(COMMON) <= found.keys():
            return None
        return _mean([_mean(found[name]) for name in COMMON])

    @property
    def label(self) -> str:
        """What has to be said with every number: source, severities, images."""
        noun = "image" if self.num_samples == 1 else "images"
        return f"{self.source}, {self._strengths}, {self.num_samples:,} {noun}"

    def __str__(self) -> str:
        """Return one line, and one more per warning."""
        numbers = f"clean {self.clean_accuracy:.1f} %, {self._over} "
        numbers += f"{self.mean_accuracy:.1f} %"
        if self.common_accuracy is not None and len(self.flags) > len(COMMON):
            numbers += f", over the {len(COMMON)} common {self.common_accuracy:.1f} %"
        return "\n".join(
            [f"{numbers} ({self.label})", *(f"warning: {w}" for w in self.warnings)]
        )

    def row(self, name: str = "model") -> dict[str, Any]:
        """Return the numbers in one row; robust is the mean over all corruptions.

        Args:
            name: Name of the row. Results of the same name are taken for seeds.
        """
        means = {f"{key}_accuracy": _mean(v) for key, v in self.accuracies.items()}
        return {
            "name": name,
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.mean_accuracy,
            "mean_corruption_error": self.mean_corruption_error,
            "common_accuracy": self.common_accuracy,
            **means,
            # Without the path of a folder, which is nobody else's.
            "suite": f"{self._over}, {Path(self.source).name}, {self._strengths}",
            "source": self.source,
            "num_corruptions": len(self.flags),
            "severities": list(self.severities),
            "num_samples": self.num_samples,
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each corruption: accuracies by severity, and their mean."""
        return [
            {
                "corruption": name,
                **{str(s): v for s, v in zip(self.severities, values, strict=True)},
                "mean": _mean(values),
            }
            for name, values in self.accuracies.items()
        ]

    def to_markdown(self) -> str:
        """Return a table of the accuracies in Markdown, with the line that `str` gives.

        Examples:
            >>> import torch
            >>> right = torch.tensor([True, True])
            >>> found = CorruptionReport(right, {"fog": right[None]}, (3,), (32, 32))
            >>> for line in found.to_markdown().splitlines()[2:]:
            ...     line
            '| corruption | 3 | mean |'
            '|---|---:|---:|'
            '| clean | | 100.0 |'
            '| fog | 100.0 | 100.0 |'
            '| **mean** | **100.0** | **100.0** |'
        """
        rows = list(self.accuracies.values())
        columns = [_mean(values) for values in zip(*rows, strict=True)]
        means = (f"**{value:.1f}**" for value in [*columns, self.mean_accuracy])
        empty = [""] * len(self.severities)
        lines = [
            ["corruption", *map(str, self.severities), "mean"],
            ["clean", *empty, f"{self.clean_accuracy:.1f}"],
            *(
                [name, *(f"{value:.1f}" for value in [*values, _mean(values)])]
                for name, values in self.accuracies.items()
            ),
            ["**mean**", *means],
        ]
        rule = "|---|" + "---:|" * (len(self.severities) + 1)
        head, *body = (
            "|" + "".join(f" {cell} |" if cell else " |" for cell in line)
            for line in lines
        )
        return "\n".join([str(self), "", head, rule, *body])

    def to_json(self, *, name: str = "model", indent: int | None = None) -> str:
        """Write the report as JSON: numbers, flags as 0 and 1, settings, versions.

        Args:
            name: Name of the row of this model.
            indent: As for `json.dumps`.
        """
        content = {
            "rows": [self.row(name)],
            "data": {"digest": self.data_digest, "num_samples": self.num_samples},
            "clean_interval": _interval(self.clean),
            "mean_over": list(self.flags),
            "severities": list(self.severities),
            "corruptions": {
                each: {
                    "accuracies": list(values),
                    "intervals": [_interval(flags) for flags in self.flags[each]],
                    "levels": self._levels(each),
                    "common": CORRUPTIONS[each].common,
                }
                for each, values in self.accuracies.items()
            },
            "source": self.source,
            "constants": SOURCE,
            "seed": self.seed,
            "image_size": list(self.image_size),
            "warnings": self.warnings,
            "versions": report.versions(),
            "flags": {
                "clean": self.clean.int().tolist(),
                **{each: flags.int().tolist() for each, flags in self.flags.items()},
            },
        }
        return json.dumps(content, indent=indent)

    def figure(self) -> Figure:
        """Draw all accuracies as a map.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return figures.corruption_map(
            self.accuracies,
            severities=self.severities,
            clean_accuracy=self.clean_accuracy,
            title=self.label,
        )

    @property
    def _over(self) -> str:
        if len(self.flags) == 1:
            return next(iter(self.flags))
        return f"mean over {len(self.flags)} corruptions"

    @property
    def _strengths(self) -> str:
        kind = "severity" if len(self.severities) == 1 else "severities"
        return f"{kind} {' '.join(map(str, self.severities))}"

    def _levels(self, name: str) -> list[list[float]]:
        levels = CORRUPTIONS[name].levels
        return [list(levels[severity - 1]) for severity in self.severities]


def _percent(flags: Tensor) -> float:
    return 100 * int(flags.sum()) / len(flags)


def _interval(flags: Tensor) -> list[float]:
    return list(intervals.wilson(int(flags.sum()), len(flags)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
