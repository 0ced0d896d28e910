"""Accuracy under corruptions, as numbers, as text, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightly_adv import markdown
from lightly_adv.evaluation import figures, statistics
from lightly_adv.evaluation.corruptions.corruption import COMMON, SOURCE, Level
from lightly_adv.evaluation.sweep import SweepReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = "C-style"
"""What images are called that are corrupted on the fly; never CIFAR-10-C."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CorruptionReport(SweepReport):
    """Accuracy under each of several corruptions, at several severities.

    Args:
        clean: Whether each image is correctly classified as it is, of shape (N,).
        flags: By name of the corruption, whether each image is correctly classified
            under it, of shape (severities, N).
        image_size: Height and width of the images.
        severities: The severities, in rising order.
        source: Where the corrupted images come from: `STYLE`, or a folder.
        levels: By name of the corruption, its constants at these severities.

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

    severities: Sequence[int]
    source: str = STYLE
    levels: Mapping[str, Sequence[Level]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        super().__post_init__()
        if any(len(flags) != len(self.severities) for flags in self.flags.values()):
            raise ValueError(
                f"severities is {list(self.severities)}, expected a severity for each "
                "level in flags"
            )

    @property
    def mean_corruption_error(self) -> float:
        """What is missing from `mean_accuracy` to 100 %.

        It is not divided by the error of another network, as it is for ImageNet-C.
        """
        return 100 - self.mean_accuracy

    @property
    def common_accuracy(self) -> float | None:
        """Mean over the 15 corruptions of the benchmark; None if not all were run."""
        means = self.means
        if not set(COMMON) <= means.keys():
            return None
        return statistics.mean([means[name] for name in COMMON])

    @property
    def conditions(self) -> str:
        """Source and severities."""
        return f"{self.source}, {self._strengths}"

    @property
    def summary(self) -> str:
        """Clean accuracy and the means."""
        numbers = f"clean {self.clean_accuracy:.1f} %, {self._over} "
        numbers += f"{self.mean_accuracy:.1f} %"
        if self.common_accuracy is not None and len(self.flags) > len(COMMON):
            numbers += f", over the {len(COMMON)} common {self.common_accuracy:.1f} %"
        return numbers

    @property
    def suite(self) -> str:
        """What the mean accuracy is a mean of, without the path of a folder."""
        return f"{self._over}, {Path(self.source).name}, {self._strengths}"

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of every sweep, and the mean error."""
        return {
            **super().numbers(),
            "mean_corruption_error": self.mean_corruption_error,
            "common_accuracy": self.common_accuracy,
            "source": self.source,
            "num_corruptions": len(self.flags),
            "severities": list(self.severities),
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each corruption: accuracies by severity, and their mean."""
        return [
            {
                "corruption": name,
                **{str(s): v for s, v in zip(self.severities, values, strict=True)},
                "mean": self.means[name],
            }
            for name, values in self.accuracies.items()
        ]

    def to_markdown(self) -> str:
        """Return a table of the accuracies in Markdown, with the line that `str` gives.

        Examples:
            >>> import torch
            >>> flags = torch.tensor([True, True])
            >>> found = CorruptionReport(
            ...     clean=flags,
            ...     flags={"fog": flags[None]},
            ...     severities=(3,),
            ...     image_size=(32, 32),
            ... )
            >>> print(found.to_markdown().splitlines()[-1])
            | mean | 100.0 | 100.0 |
        """
        rows = [[*values, self.means[name]] for name, values in self.accuracies.items()]
        columns = [statistics.mean(values) for values in zip(*rows, strict=True)]
        lines = [
            ["clean", *[""] * len(self.severities), f"{self.clean_accuracy:.1f}"],
            *(
                [name, *(f"{value:.1f}" for value in values)]
                for name, values in zip(self.flags, rows, strict=True)
            ),
            ["mean", *(f"{value:.1f}" for value in columns)],
        ]
        headings = ["corruption", *map(str, self.severities), "mean"]
        return f"{self}\n\n{markdown.table(headings, lines)}"

    def details(self, name: str) -> dict[str, Any]:
        """Return whether a corruption is a common one."""
        return {"common": name in COMMON}

    def derived(self) -> dict[str, Any]:
        """Return accuracies with intervals, and where the constants come from."""
        return {**super().derived(), "constants": SOURCE}

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
