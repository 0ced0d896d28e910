"""Robust accuracy over the radius of the threat model."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from lightly_adv.evaluation.figures import canvas, rows
from lightly_adv.evaluation.figures.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@canvas.names_as_they_are
def robustness_curves(results: Sequence[Row], *, title: str | None = None) -> Figure:
    """Draw robust accuracy over eps, one line per name.

    Rows of the same name and eps are seeds: the line is their mean, the band reaches
    from the lowest to the highest. If a line does not fall to about 0 on the right,
    the attacks are too weak for this model.

    Args:
        results: Rows with `name`, `eps` in pixels of [0, 1] and `robust_accuracy` in
            percent, as from `RobustnessReport.row`.
        title: Written above.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no row, if one lacks a key, or if suites or norms
            differ.

    Examples:
        >>> results = [
        ...     {"name": "mine", "eps": eps / 255, "robust_accuracy": 80.0 - 8 * eps}
        ...     for eps in range(9)
        ... ]
        >>> type(robustness_curves(results)).__name__
        'Figure'
    """
    groups = rows.by_name(results, needs=("eps", "robust_accuracy"))
    suite, norm = (rows.shared(results, key) for key in ("suite", "norm"))
    figure = canvas.new_figure(6.0, 4.0)
    axes = canvas.plain_axes(figure, (0.11, 0.13, 0.86, 0.79))
    for index, (name, group) in enumerate(groups.items()):
        _draw_curve(axes, name, group, index)
    axes.set_xlim(left=0)
    axes.set_ylim(-1, 101)
    axes.set_xlabel(f"eps (1/255){f', {norm}' if norm else ''}", color=canvas.INK)
    label = f"robust accuracy (%){f': {suite}' if suite else ''}"
    axes.set_ylabel(label, color=canvas.INK)
    heights = [fmean(_accuracy(row) for row in group) for group in groups.values()]
    canvas.draw_legend(axes, heights)
    if len(results) > len({(row["name"], row["eps"]) for row in results}):
        canvas.note(axes, "line: mean, band: all seeds")
    if title:
        axes.set_title(title, color=canvas.INK, fontsize=11, loc="left")
    return figure


def _draw_curve(axes: Axes, name: str, group: Sequence[Row], index: int) -> None:
    seeds: dict[float, list[float]] = {}
    for row in sorted(group, key=lambda row: float(row["eps"])):
        seeds.setdefault(float(row["eps"]) * 255, []).append(_accuracy(row))
    x = list(seeds)
    color, marker = canvas.look(index)
    lowest, highest = ([f(values) for values in seeds.values()] for f in (min, max))
    axes.fill_between(x, lowest, highest, color=color, alpha=0.18, linewidth=0)
    axes.plot(
        x,
        [fmean(values) for values in seeds.values()],
        color=color,
        label=name,
        linewidth=1.8,
        marker=marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.7,
        clip_on=False,
    )


def _accuracy(row: Row) -> float:
    return float(row["robust_accuracy"])
