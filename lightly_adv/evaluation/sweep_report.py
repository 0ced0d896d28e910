"""Accuracy under each of several changes to the images, at several strengths."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightly_adv.evaluation import report, statistics
from lightly_adv.evaluation.report import Report
from lightly_adv.json_files import Need, Needs, has, is_list, is_text


@dataclass(frozen=True, eq=False, kw_only=True)
class SweepReport(Report):
    """Accuracy under each member of a sweep, at several levels.

    Args:
        clean: Whether each image is correctly classified as it is, of shape (N,).
        flags: By name of the member, whether each image is correctly classified under
            it, of shape (levels, N).
        image_size: Height and width of the images.
    """

    clean: Tensor
    flags: Mapping[str, Tensor]
    image_size: tuple[int, int]

    @abstractmethod
    def describe(self, member: str) -> dict[str, Any]:
        """Return the settings of a member, ready for JSON."""

    @property
    @abstractmethod
    def suite(self) -> str:
        """What the mean accuracy is a mean of."""

    @property
    def num_samples(self) -> int:
        """Number of images."""
        return len(self.clean)

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are correctly classified as they are, in percent."""
        return statistics.percent(self.clean)

    @property
    def accuracies(self) -> dict[str, tuple[float, ...]]:
        """By member, the accuracy at each level, in percent."""
        return {
            name: tuple(statistics.percent(level) for level in flags)
            for name, flags in self.flags.items()
        }

    @property
    def means(self) -> dict[str, float]:
        """By member, the mean accuracy over its levels, in percent."""
        return {name: statistics.mean(x) for name, x in self.accuracies.items()}

    @property
    def mean_accuracy(self) -> float:
        """Mean over members of the mean over their levels, in percent."""
        return statistics.mean(list(self.means.values()))

    def row(self, name: str | None = None) -> dict[str, Any]:
        """Return the numbers in one row; robust is the mean over all members.

        Args:
            name: Name of the row. Defaults to that of the model.
        """
        return {
            "name": self.name if name is None else name,
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.mean_accuracy,
            **{f"{member}_accuracy": mean for member, mean in self.means.items()},
            "suite": self.suite,
            "num_samples": self.num_samples,
        }

    def results(self) -> dict[str, Any]:
        """Return accuracies with intervals, settings and flags."""
        flags = {name: report.to_marks(flags) for name, flags in self.flags.items()}
        return {
            "image_size": list(self.image_size),
            "clean_interval": statistics.interval(self.clean),
            "members": [
                {
                    "name": name,
                    "accuracies": list(values),
                    "intervals": [statistics.interval(x) for x in self.flags[name]],
                    **self.describe(name),
                }
                for name, values in self.accuracies.items()
            ],
            "flags": {"clean": report.to_marks(self.clean), **flags},
        }

    @classmethod
    def needs(cls, content: Mapping[str, Any]) -> Needs:
        """Return what the JSON of such a report has to hold, besides the facts."""

        def is_member(part: Any) -> bool:
            return has(part, "name") and part["name"] in content["flags"]

        return {
            "image_size": Need(
                lambda part: is_list(part, lambda side: type(side) is int, length=2),
                "height and width",
            ),
            "flags": Need(
                _are_flags, "0 or 1 for every image, clean and at each level"
            ),
            "members": Need(
                lambda part: is_list(part, is_member) and bool(part),
                "a list of the members that flags has",
            ),
        }

    @classmethod
    def read_results(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that `results` was made of."""
        names = [member["name"] for member in content["members"]]
        height, width = content["image_size"]
        return {
            "clean": report.to_flags(content["flags"]["clean"]),
            "flags": {name: report.to_flags(content["flags"][name]) for name in names},
            "image_size": (height, width),
        }


def _are_flags(part: Any) -> bool:
    if not has(part, "clean") or not report.are_marks(part["clean"]):
        return False
    count = len(part["clean"])
    return all(
        is_text(name)
        and is_list(levels, lambda x: report.are_marks(x) and len(x) == count)
        and bool(levels)
        for name, levels in part.items()
        if name != "clean"
    )
