"""Clean against robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from lightly_adv.evaluation.figures import canvas, place, rows
from lightly_adv.evaluation.figures.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]

AREA = 64.0
"""Area of a marker, in square points; the largest is four times as large."""


@canvas.names_as_they_are
def accuracy_scatter(
    results: Sequence[Row], *, size: str | None = None, title: str | None = None
) -> Figure:
    """Draw clean against robust accuracy, one labelled marker per name.

    Rows of the same name are seeds: they are small dots, and their mean is the marker.

    Args:
        results: Rows with `name`, `clean_accuracy` and `robust_accuracy` in percent,
            as from `RobustnessReport.row`.
        size: Key of a number that the areas of the markers stand for, such as
            "epochs"; None for markers of one size.
        title: Written above.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no row, if one lacks a key, or if suites or threat
            models differ.

    Examples:
        >>> row = {"name": "mine", "clean_accuracy": 80.0, "robust_accuracy": 45.0}
        >>> type(accuracy_scatter([row])).__name__
        'Figure'
    """
    needs = ("clean_accuracy", "robust_accuracy", *([size] if size else []))
    groups = rows.by_name(results, needs=needs)
    condition = _condition(results)
    figure = canvas.new_figure(6.0, 4.6)
    axes = canvas.plain_axes(figure, (0.11, 0.12, 0.86, 0.80))
    seeds = {name: [_point(row) for row in group] for name, group in groups.items()}
    means = [
        (fmean(x for x, _ in each), fmean(y for _, y in each))
        for each in seeds.values()
    ]
    every = [point for each in seeds.values() for point in each]
    _set_limits(axes, every)
    _draw_limit(axes)
    areas = _areas(
        [fmean(row[size] for row in group) for group in groups.values()] if size else []
    )
    colors = [canvas.look(index)[0] for index in range(len(groups))]
    for index, (each, mean) in enumerate(zip(seeds.values(), means, strict=True)):
        _draw_points(axes, each, mean, index, area=areas[index] if size else AREA)
    place.label_points(axes, means, list(groups), colors, avoid=every)
    axes.set_xlabel("clean accuracy (%)", color=canvas.INK)
    axes.set_ylabel(f"robust accuracy (%){condition}", color=canvas.INK)
    notes = ["small: seeds, large: mean"] if len(every) > len(means) else []
    notes += [f"area: {size.replace('_', ' ')}"] if size else []
    if notes:
        canvas.note(axes, "; ".join(notes))
    if title:
        axes.set_title(title, color=canvas.INK, fontsize=11, loc="left")
    return figure


def _areas(values: Sequence[float]) -> list[float]:
    """Return areas in proportion to the values."""
    return [4 * AREA * value / max(values) for value in values]


def _condition(results: Sequence[Row]) -> str:
    found = [rows.shared(results, key) for key in ("suite", "norm", "eps_text")]
    suite, norm, eps = found
    said = [suite, f"{norm} {eps}" if norm and eps else None]
    text = ", ".join(each for each in said if each)
    return f": {text}" if text else ""


def _point(row: Row) -> Point:
    return float(row["clean_accuracy"]), float(row["robust_accuracy"])


def _set_limits(axes: Axes, points: Sequence[Point]) -> None:
    axes.set_xlim(_limits([x for x, _ in points]))
    axes.set_ylim(_limits([y for _, y in points]))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Leave space for labels around the points, within 0 to 100 percent."""
    pad = max(0.18 * (max(values) - min(values)), 3.0)
    return max(min(values) - pad, -1.0), min(max(values) + pad, 101.0)


def _draw_limit(axes: Axes) -> None:
    """Robust accuracy never exceeds clean accuracy; show it where it is in view."""
    axes.plot(
        (0, 100), (0, 100), color=canvas.MUTED, linewidth=0.8, linestyle=(0, (4, 3))
    )


def _draw_points(
    axes: Axes, seeds: Sequence[Point], mean: Point, index: int, *, area: float
) -> None:
    color, marker = canvas.look(index)
    if len(seeds) > 1:
        x, y = zip(*seeds, strict=True)
        axes.scatter(x, y, s=12, alpha=0.55, linewidths=0, color=color, marker=marker)
    axes.scatter(
        mean[0],
        mean[1],
        s=area,
        color=color,
        marker=marker,
        edgecolors="white",
        linewidths=0.9,
        zorder=4,
    )
