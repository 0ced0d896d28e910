"""Clean against robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from lightly_adv.evaluation.figures import canvas, rows
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
    """Draw clean against robust accuracy, one marker per name.

    Rows of the same name are seeds: they are small dots, and their mean is the marker.

    Args:
        results: Rows with `name`, `clean_accuracy` and `robust_accuracy` in percent,
            as from `RobustnessReport.row`.
        size: Key of a number that the areas of the markers show, such as "epochs";
            None for markers of one size.
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
    every = [point for points in seeds.values() for point in points]
    _set_limits(axes, every)
    _draw_limit(axes)
    areas = [AREA] * len(groups)
    if size:
        areas = _areas([fmean(row[size] for row in group) for group in groups.values()])
    for index, (name, points) in enumerate(seeds.items()):
        _draw_points(axes, name, points, index, area=areas[index])
    canvas.draw_legend(axes, [_mean(points)[1] for points in seeds.values()])
    axes.set_xlabel("clean accuracy (%)", color=canvas.INK)
    axes.set_ylabel(f"robust accuracy (%){condition}", color=canvas.INK)
    notes = ["small: seeds, large: mean"] if len(every) > len(groups) else []
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
    suite, norm, eps = (
        rows.shared(results, key) for key in ("suite", "norm", "eps_text")
    )
    parts = [suite, f"{norm} {eps}" if norm and eps else None]
    text = ", ".join(part for part in parts if part)
    return f": {text}" if text else ""


def _point(row: Row) -> Point:
    return float(row["clean_accuracy"]), float(row["robust_accuracy"])


def _mean(points: Sequence[Point]) -> Point:
    return fmean(x for x, _ in points), fmean(y for _, y in points)


def _set_limits(axes: Axes, points: Sequence[Point]) -> None:
    axes.set_xlim(_limits([x for x, _ in points]))
    axes.set_ylim(_limits([y for _, y in points]))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Leave a margin around the points, within 0 to 100 percent."""
    pad = max(0.18 * (max(values) - min(values)), 3.0)
    return max(min(values) - pad, -1.0), min(max(values) + pad, 101.0)


def _draw_limit(axes: Axes) -> None:
    """Robust accuracy never exceeds clean accuracy; show it where it is in view."""
    axes.plot(
        (0, 100), (0, 100), color=canvas.MUTED, linewidth=0.8, linestyle=(0, (4, 3))
    )


def _draw_points(
    axes: Axes, name: str, seeds: Sequence[Point], index: int, *, area: float
) -> None:
    color, marker = canvas.look(index)
    if len(seeds) > 1:
        x, y = zip(*seeds, strict=True)
        axes.scatter(x, y, s=12, alpha=0.55, linewidths=0, color=color, marker=marker)
    axes.scatter(
        *_mean(seeds),
        s=area,
        color=color,
        marker=marker,
        edgecolors="white",
        linewidths=0.9,
        zorder=4,
        label=name,
    )
