"""Matrices as maps of coloured cells: corruptions by severity, models by models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightly_adv.evaluation import statistics
from lightly_adv.evaluation.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL, ROW = 0.62, 0.3
"""Width of all cells and height of low ones, in inches."""

LETTER = 0.085
"""Width of a letter of a name, in inches."""

MEAN = "mean"

Matrix = Sequence[Sequence[float]]


class Colors(NamedTuple):
    """How numbers become colours and text."""

    name: str
    low: float
    high: float
    number: str


_ACCURACY = Colors("Blues", 0, 130, "{:.1f}")
_COSINE = Colors("PuOr_r", -1.6, 1.6, "{:.2f}")


@canvas.names_as_they_are
def corruption_map(
    accuracies: Mapping[str, Sequence[float]],
    *,
    severities: Sequence[int],
    clean_accuracy: float,
    title: str | None = None,
) -> Figure:
    """Draw the accuracy under each corruption at each severity, and the means.

    Args:
        accuracies: By corruption, the accuracy at each severity, in percent.
        severities: The severities.
        clean_accuracy: Accuracy on clean images, in percent.
        title: Written above.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a corruption does not have one accuracy for each severity, or if
            there is none.

    Examples:
        >>> accuracies = {"fog": [90.0, 70.5], "snow": [80.0, 60.0]}
        >>> figure = corruption_map(accuracies, severities=[1, 5], clean_accuracy=95.0)
        >>> len(figure.axes)
        1
    """
    sizes = {len(values) for values in accuracies.values()}
    if sizes != {len(severities)}:
        raise ValueError(
            f"the corruptions have {sorted(sizes)} accuracies; expected one for each "
            f"of the {len(severities)} severities."
        )
    names = [name.replace("_", " ") for name in accuracies]
    rows = [[*values, statistics.mean(values)] for values in accuracies.values()]
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    columns = [*map(str, severities), MEAN]
    figure = canvas.new_figure(CELL * len(columns), ROW * (len(rows) + 1))
    axes = figure.add_axes((0, 0, 1, 1))
    _draw_cells(axes, [*rows, means], [*names, MEAN], columns, _ACCURACY)
    axes.axhline(len(rows), color="white", linewidth=5)
    axes.axvline(len(severities), color="white", linewidth=5)
    about = f"accuracy (%) by severity; {clean_accuracy:.1f} on clean images"
    _set_title(axes, title, about)
    return figure


@canvas.names_as_they_are
def transfer_maps(
    names: Sequence[str],
    *,
    clean_accuracy: Sequence[float],
    accuracy: Matrix,
    cosine: Matrix,
    title: str | None = None,
) -> Figure:
    """Draw accuracy on transferred perturbations, and how similar these are.

    On the left the accuracies: each row is for the model that the images were
    perturbed for, above them one for clean images; each column is for the model that
    classifies them. On the right the cosines between the perturbations.

    Args:
        names: Names of the models.
        clean_accuracy: Accuracy of each on clean images, in percent.
        accuracy: `accuracy[i][j]` for model j on what was perturbed for model i.
        cosine: Cosines between what was perturbed for i and for j.
        title: Written above.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a matrix does not have one row and column for each name.

    Examples:
        >>> figure = transfer_maps(
        ...     ["rotation", "jigsaw"], clean_accuracy=[80.0, 60.0],
        ...     accuracy=[[31.0, 52.0], [71.0, 20.0]], cosine=[[1.0, 0.1], [0.1, 1.0]],
        ... )
        >>> len(figure.axes)
        2
    """
    count = len(names)
    _check(count, [clean_accuracy], accuracy, cosine)
    between = LETTER * max(map(len, names)) + 0.5
    width = 2 * CELL * count + between
    share = CELL * count / width
    figure = canvas.new_figure(width, CELL * (count + 1))
    left = figure.add_axes((0, 0, share, 1))
    rows = ["clean images", *names]
    _draw_cells(left, [clean_accuracy, *accuracy], rows, names, _ACCURACY)
    left.axhline(1, color="white", linewidth=5)
    left.set_ylabel("perturbed for", color=canvas.INK)
    _set_title(left, title, "accuracy (%) of")
    right = figure.add_axes((1 - share, 0, share, count / (count + 1)))
    _draw_cells(right, cosine, names, names, _COSINE)
    _set_title(right, None, "cosine of perturbations")
    for axes in (left, right):
        axes.tick_params(axis="x", labelrotation=40)
        for label in axes.get_xticklabels():
            label.set(ha="left", rotation_mode="anchor")
    return figure


def _check(count: int, *matrices: Matrix) -> None:
    for matrix in matrices:
        sizes = {len(row) for row in matrix}
        if sizes != {count} or len(matrix) not in (1, count):
            raise ValueError(
                f"a matrix has {len(matrix)} rows of {sorted(sizes)} numbers; expected "
                f"one row and one column for each of the {count} names."
            )


def _draw_cells(
    axes: Axes,
    matrix: Matrix,
    rows: Sequence[str],
    columns: Sequence[str],
    colors: Colors,
) -> None:
    """Draw cells with their numbers, the first row on top, and names around them."""
    cells = axes.pcolormesh(
        matrix,
        cmap=colors.name,
        vmin=colors.low,
        vmax=colors.high,
        edgecolors="white",
        linewidth=1.5,
    )
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            red, green, blue, _ = cells.to_rgba(np.array(value))
            is_dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            axes.text(
                column + 0.5,
                row + 0.5,
                colors.number.format(value),
                ha="center",
                va="center_baseline",
                fontsize=9,
                color="white" if is_dark else canvas.INK,
            )
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.set_xticks([place + 0.5 for place in range(len(columns))], columns)
    axes.set_yticks([place + 0.5 for place in range(len(rows))], rows)
    axes.tick_params(length=0, labelsize=9, labelcolor=canvas.INK)
    axes.spines[:].set_visible(False)


def _set_title(axes: Axes, title: str | None, about: str) -> None:
    text = "\n".join(filter(None, (title, about)))
    axes.set_title(text, loc="left", fontsize=10, color=canvas.INK, pad=8)
