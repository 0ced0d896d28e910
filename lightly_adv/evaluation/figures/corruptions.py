"""Accuracy under corruptions as a map: one row each, one column for each severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightly_adv.evaluation.figures import canvas
from lightly_adv.evaluation.figures.maps import ACCURACY, CELL, LETTER, draw_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.3
"""Height of a row, in inches."""

TITLES = 0.75
"""Height of the title and of the names of the columns, in inches."""

GAP = 0.25
"""Between the means and what they are of: in cells, and in rows."""

MEAN = "mean"


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
        >>> found = {"fog": [90.0, 70.5], "snow": [80.0, 60.0]}
        >>> figure = corruption_map(found, severities=[1, 5], clean_accuracy=95.0)
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
    rows = [list(values) for values in accuracies.values()]
    columns, count = len(severities), len(rows)
    margin = LETTER * max(map(len, [*names, MEAN])) + 0.3
    width = margin + CELL * (columns + GAP + 1)
    below = ROW * (count + GAP + 1)
    height = TITLES + below
    figure = canvas.new_figure(width, height)
    share = (margin / width, 0.0, 1 - margin / width, below / height)
    axes = figure.add_axes(share)
    last = columns + GAP
    means = [_mean(values) for values in zip(*rows, strict=True)]
    own = [[_mean(values)] for values in rows]
    blank = [""] * count
    draw_cells(axes, rows, names, ACCURACY, top=0.0)
    draw_cells(axes, own, blank, ACCURACY, top=0.0, left=last)
    draw_cells(axes, [means], [MEAN], ACCURACY, top=count + GAP)
    overall = [[_mean(means)]]
    draw_cells(axes, overall, [""], ACCURACY, top=count + GAP, left=last)
    _finish(axes, severities, last)
    text = f"accuracy (%), {clean_accuracy:.1f} on clean images"
    figure.text(0, 1, "\n".join([*([title] if title else []), text]), va="top")
    return figure


def _finish(axes: Axes, severities: Sequence[int], last: float) -> None:
    axes.set_xlim(0, last + 1)
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    for column, severity in enumerate(severities):
        axes.text(column + 0.5, -0.2, str(severity), ha="center", fontsize=9)
    axes.text(last + 0.5, -0.2, MEAN, ha="center", fontsize=9)
    axes.text(-0.12, -0.2, "severity", ha="right", fontsize=9)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
