"""Matrices between models as maps of coloured cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightly_adv.evaluation.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 0.62
"""Side of a cell, in inches."""

LETTER = 0.085
"""Width of a letter of a name, in inches."""

TITLES = 0.6
"""Height of the titles above the names of the columns, in inches."""

GAP = 0.25
"""Between the row of clean images and the others, in cells."""

CLEAN = "clean images"


class Colors(NamedTuple):
    """How numbers become colours and text."""

    name: str
    low: float
    high: float
    number: str


ACCURACY = Colors("Blues", 0, 130, "{:.1f}")
_COSINE = Colors("PuOr_r", -1.6, 1.6, "{:.2f}")


@canvas.names_as_they_are
def transfer_maps(
    names: Sequence[str],
    *,
    clean_accuracy: Sequence[float],
    accuracy: Sequence[Sequence[float]],
    cosine: Sequence[Sequence[float]],
    title: str | None = None,
) -> Figure:
    """Draw whom perturbations mislead, and how alike they are.

    On the left the accuracies: each row stands for the model that the images were
    perturbed for, above them that of clean images, each column for the model that is
    asked. On the right the cosines between the perturbations.

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
    _check(len(names), [clean_accuracy], accuracy, cosine)
    count, longest = len(names), LETTER * max(map(len, names))
    margins = max(longest, LETTER * len(CLEAN)) + 0.5, longest + 0.5
    width = sum(margins) + 2 * CELL * count
    height = TITLES + CELL * (_above(names) + count + 1 + GAP)
    figure = canvas.new_figure(width, height)

    def axes(left: float, rows: float) -> Axes:
        size = (CELL * count / width, CELL * rows / height)
        return figure.add_axes((left / width, 0.0, *size))

    left = axes(margins[0], count + 1 + GAP)
    draw_cells(left, [clean_accuracy], [CLEAN], ACCURACY, top=0.0)
    draw_cells(left, accuracy, names, ACCURACY, top=1 + GAP)
    _finish(left, names, "accuracy (%) of")
    middle = (-margins[0] / CELL, 1 + GAP + count / 2)
    left.text(*middle, "perturbed for", rotation=90, va="center", fontsize=10)
    right = axes(sum(margins) + CELL * count, count)
    draw_cells(right, cosine, names, _COSINE, top=0.0)
    _finish(right, names, "cosine of perturbations")
    if title:
        figure.text(0, 1, title, va="top", fontsize=11)
    return figure


def _check(count: int, *matrices: Sequence[Sequence[float]]) -> None:
    for matrix in matrices:
        sizes = {len(row) for row in matrix}
        if sizes != {count} or len(matrix) not in (1, count):
            raise ValueError(
                f"a matrix has {len(matrix)} rows of {sorted(sizes)} numbers; expected "
                f"one row and one column for each of the {count} names."
            )


def draw_cells(
    axes: Axes,
    matrix: Sequence[Sequence[float]],
    names: Sequence[str],
    colors: Colors,
    *,
    top: float,
    left: float = 0.0,
) -> None:
    """Draw the cells of some rows, with their numbers and the names to the left.

    Args:
        axes: Axes that measure in cells.
        matrix: The numbers.
        names: One for each row.
        colors: How numbers become colours and text.
        top: Where the first row begins.
        left: Where the first column begins.
    """
    count = len(matrix[0])
    cells = axes.pcolormesh(
        [left + column for column in range(count + 1)],
        [top + row for row in range(len(matrix) + 1)],
        matrix,
        cmap=colors.name,
        vmin=colors.low,
        vmax=colors.high,
        edgecolors="white",
        linewidth=1.5,
    )
    for row, values in enumerate(matrix):
        middle = top + row + 0.5
        axes.text(left - 0.12, middle, names[row], ha="right", va="center", fontsize=9)
        for column, value in enumerate(values):
            red, green, blue, _ = cells.to_rgba(np.array(value))
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            axes.text(
                left + column + 0.5,
                middle,
                colors.number.format(value),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else canvas.INK,
            )


def _finish(axes: Axes, names: Sequence[str], title: str) -> None:
    axes.set_xlim(0, len(names))
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    for column, name in enumerate(names):
        axes.text(
            column + 0.42,
            -0.1,
            name,
            rotation=40,
            rotation_mode="anchor",
            fontsize=9,
        )
    axes.text(0, -_above(names), title, fontsize=10)


def _above(names: Sequence[str]) -> float:
    """Return the height of the names of the columns, in cells."""
    return 0.4 + 0.075 * max(map(len, names))
