"""From the files of all jobs to rows and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import torch

from lightly_adv.evaluation.comparison import paired_difference
from robustified.settings import ARMS

Measures = Mapping[str, Any]

FLAGS = [f"{head}_{eps}" for head in ("knn", "linear") for eps in (0, 1, 2)]
DISTANCES = ("clean_distance", "attacked_distance")


def rows(
    before: Measures, after: Mapping[str, Sequence[Measures]], costs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a row for each arm, with accuracies in percent, means over seeds.

    Args:
        before: The measures of the encoder that all began with.
        after: For each arm the measures of its seeds.
        costs: For each arm updates, seconds and passes, means over seeds.
    """
    found = [{"name": "before", **_numbers([before])}]
    for arm, measures in after.items():
        references = {"before": [before] * len(measures), "fare": after.get("fare")}
        found.append(
            {
                "name": ARMS[arm].title,
                **_numbers(measures),
                **costs[arm],
                **{
                    f"minus_{name}": _differences(measures, reference)
                    for name, reference in references.items()
                    if reference and name != arm
                },
            }
        )
    return found


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as tables: numbers, and differences with intervals."""
    columns = ["name", *DISTANCES, *FLAGS, "updates", "seconds", "passes", "rate"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += [
        "| " + " | ".join(_cell(row.get(column)) for column in columns) + " |"
        for row in found
    ]
    for reference in ("minus_before", "minus_fare"):
        lines += ["", f"| {reference} | " + " | ".join(FLAGS) + " |"]
        lines.append("|---" * (1 + len(FLAGS)) + "|")
        lines += [
            f"| {row['name']} | " + " | ".join(map(row[reference].get, FLAGS)) + " |"
            for row in found
            if reference in row
        ]
    return "\n".join(lines) + "\n"


def _numbers(measures: Sequence[Measures]) -> dict[str, Any]:
    accuracies: dict[str, Any] = {
        name: 100 * mean(mean(each[name]) for each in measures) for name in FLAGS
    }
    distances = {
        name: mean(mean(each[name]) for each in measures) for name in DISTANCES
    }
    seeds = {
        f"{name}_seeds": [round(100 * mean(each[name]), 1) for each in measures]
        for name in FLAGS
    }
    return accuracies | distances | seeds


def _differences(
    measures: Sequence[Measures], reference: Sequence[Measures]
) -> dict[str, str]:
    """Return paired differences with 95 % intervals, in points of percent."""
    found = {}
    for name in FLAGS:
        first, second = (
            torch.tensor([each[name] for each in side])
            for side in (measures, reference[: len(measures)])
        )
        found[name] = str(paired_difference(first, second))
    return found


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if value >= 2 else f"{value:.3g}"
