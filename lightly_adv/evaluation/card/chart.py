"""A small line chart as SVG, in the colours of the page that it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 34, 40, 20, 44


class Point(NamedTuple):
    """One point: the text below it, an accuracy in percent and its interval."""

    text: str
    value: float
    low: float
    high: float


def line_chart(
    points: Sequence[Point], *, axis: str, about: str, marked: str | None = None
) -> str:
    """Draw accuracies in percent over a few values, which stand equally far apart.

    Args:
        points: From left to right, at least one.
        axis: What is written below the values.
        about: What a screen reader says before the numbers.
        marked: The text of the point that a dashed line goes through.

    Returns:
        An `svg` element, with the classes that the style of the page colours.

    Examples:
        >>> points = [Point("0", 80.0, 75.0, 85.0), Point("8/255", 40.0, 35.0, 45.0)]
        >>> chart = line_chart(points, axis="eps", about="Robust accuracy")
        >>> chart.count("<circle"), "8/255 40.0" in chart
        (2, True)
    """
    places = [(_x(i, len(points)), _y(point.value)) for i, point in enumerate(points)]
    told = ", ".join(f"{point.text} {point.value:.1f}" for point in points)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f"aria-label={quoteattr(f'{about}: {told}')}>",
        *_grid(),
        *_band(points),
        *_mark(points, marked),
        f'<polyline class="line" points="{_path(places)}"/>',
    ]
    for point, (x, y) in zip(points, places, strict=True):
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        # To the right: a falling line comes from the upper left.
        parts.append(_text(x + 3, y - 8, f"{point.value:.1f}", "value", anchor="start"))
        parts.append(_text(x, HEIGHT - BOTTOM + 17, point.text, "tick"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axis, "axis"))
    return "".join([*parts, "</svg>"])


def _x(index: int, count: int) -> float:
    first, last = LEFT + 18, WIDTH - RIGHT
    return (
        (first + last) / 2
        if count == 1
        else first + index * (last - first) / (count - 1)
    )


def _y(value: float) -> float:
    return TOP + (100 - value) / 100 * (HEIGHT - TOP - BOTTOM)


def _grid() -> list[str]:
    found = []
    for value in (0, 25, 50, 75, 100):
        y = _y(value)
        found.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 4}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        found.append(_text(LEFT - 6, y + 4, str(value), "tick", anchor="end"))
    return found


def _band(points: Sequence[Point]) -> list[str]:
    count = len(points)
    if count == 1:
        return []
    upper = [(_x(i, count), _y(point.high)) for i, point in enumerate(points)]
    lower = [(_x(i, count), _y(point.low)) for i, point in enumerate(points)]
    return [f'<polygon class="band" points="{_path([*upper, *reversed(lower)])}"/>']


def _mark(points: Sequence[Point], marked: str | None) -> list[str]:
    return [
        f'<line class="mark" x1="{_x(i, len(points)):.1f}" '
        f'x2="{_x(i, len(points)):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for i, point in enumerate(points)
        if point.text == marked
    ]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "middle") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
