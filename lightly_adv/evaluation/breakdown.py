"""The same images class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightly_adv.evaluation import statistics


def per_class(labels: Tensor, flags: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Return clean and robust accuracy of each class that occurs, in percent.

    Args:
        labels: Class of each image, (N,).
        flags: As in a `RobustnessReport`.

    Examples:
        >>> import torch
        >>> flags = {"clean": torch.tensor([1, 1, 0]), "pgd": torch.tensor([1, 0, 0])}
        >>> for row in per_class(torch.tensor([4, 4, 7]), flags):
        ...     row["class"], row["num_samples"], row["robust_accuracy"]
        (4, 2, 50.0)
        (7, 1, 0.0)
    """
    sides = {"clean": flags["clean"], "robust": list(flags.values())[-1]}
    rows = []
    for number in sorted(set(labels.tolist())):
        own = labels == number
        row: dict[str, Any] = {"class": number, "num_samples": int(own.sum())}
        for side, flag in sides.items():
            row[f"{side}_accuracy"] = statistics.percent(flag[own])
            row[f"{side}_interval"] = statistics.interval(flag[own])
        rows.append(row)
    return rows


def confusion(labels: Tensor, predictions: Tensor, *, classes: int) -> list[list[int]]:
    """Return how many images of each class (row) are taken for each class (column).

    Args:
        labels: Class of each image, (N,).
        predictions: What each is taken for, (N,).
        classes: How many classes there are.

    Examples:
        >>> import torch
        >>> confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), classes=2)
        [[1, 1], [0, 1]]
    """
    pairs = (labels * classes + predictions).bincount(minlength=classes**2)
    matrix: list[list[int]] = pairs.view(classes, classes).tolist()
    return matrix


def confused(
    labels: Tensor, predictions: Tensor, *, most: int = 10
) -> list[tuple[int, int, int]]:
    """Return the classes most often confused: class, taken for, how often.

    Args:
        labels: Class of each image, (N,).
        predictions: What each is taken for, (N,).
        most: How many pairs to return.

    Examples:
        >>> import torch
        >>> confused(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 2, 1]))
        [(0, 1, 2), (1, 2, 1)]
    """
    wrong = labels != predictions
    pairs = zip(labels[wrong].tolist(), predictions[wrong].tolist(), strict=True)
    counted = Counter(pairs).items()
    order = sorted(counted, key=lambda item: (-item[1], item[0]))
    return [(*pair, count) for pair, count in order[:most]]
