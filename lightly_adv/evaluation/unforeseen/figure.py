"""Accuracy over the strength of each attack, one small diagram for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lightly_adv.evaluation.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5
WIDTH, HEIGHT = 2.05, 1.95
"""Size of a diagram with its margins, in inches."""


class StrengthCurve(NamedTuple):
    """Accuracy over the strength of one attack.

    Args:
        name: Name of the attack.
        strengths: Its strengths, as text.
        unit: What these are.
        accuracies: Accuracy at each of them, in percent.
        best: What a network reaches that is trained against it; None where not known.
    """

    name: str
    strengths: tuple[str, ...]
    unit: str
    accuracies: tuple[float, ...]
    best: tuple[float, ...] | None


@canvas.names_as_they_are
def strength_curves(
    curves: Sequence[StrengthCurve], *, clean_accuracy: float, title: str
) -> Figure:
    """Draw one diagram for each attack.

    Args:
        curves: What to draw.
        clean_accuracy: Accuracy without an attack, in percent; a thin line in all.
        title: Written above.

    Raises:
        ImportError: If matplotlib is not installed.

    Examples:
        >>> fog = StrengthCurve("fog", ("0.1", "0.2"), "weight", (60.0, 40.0), None)
        >>> figure = strength_curves([fog], clean_accuracy=80.0, title="one attack")
        >>> len(figure.axes)
        1
    """
    columns = min(COLUMNS, len(curves))
    rows = math.ceil(len(curves) / columns)
    width, height = WIDTH * columns + 0.3, HEIGHT * rows + 0.45
    figure = canvas.new_figure(width, height)
    for index, curve in enumerate(curves):
        row, column = divmod(index, columns)
        left, bottom = 0.5 + WIDTH * column, 0.6 + HEIGHT * (rows - 1 - row)
        box = (left, bottom, WIDTH - 0.3, HEIGHT - 0.85)
        scaled = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        axes = canvas.plain_axes(figure, scaled)
        _draw(axes, curve, clean_accuracy)
        if column == 0:
            axes.set_ylabel("accuracy (%)", fontsize=8, color=canvas.INK)
    key = "blue: this model; dotted: without an attack"
    if any(curve.best for curve in curves):
        key += "; grey: trained against the attack (CIFAR-10)"
    figure.text(0, 1, title, va="top", fontsize=11, color=canvas.INK)
    figure.text(0, 1 - 0.2 / height, key, va="top", fontsize=8, color=canvas.MUTED)
    return figure


def _draw(axes: Axes, curve: StrengthCurve, clean_accuracy: float) -> None:
    x = range(len(curve.strengths))
    axes.axhline(clean_accuracy, color=canvas.MUTED, linewidth=0.8, linestyle=":")
    if curve.best is not None:
        axes.plot(x, curve.best, color="#9a9a9a", linewidth=1.2)
    color, marker = canvas.look(0)
    axes.plot(
        x,
        curve.accuracies,
        color=color,
        marker=marker,
        markersize=4,
        linewidth=1.6,
        clip_on=False,
    )
    axes.set_ylim(0, 100)
    axes.set_xticks(list(x), curve.strengths, fontsize=6.5, rotation=40)
    axes.set_title(curve.name, fontsize=9, loc="left", color=canvas.INK, pad=3)
    axes.set_xlabel(curve.unit, fontsize=7, color=canvas.MUTED, labelpad=1)
