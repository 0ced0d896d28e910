"""Labels beside points, placed so that they cover nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTANCES = (8.0, 12.0, 18.0, 26.0, 36.0, 48.0)
"""How far from its point a label may stand, in typographic points; near ones first."""

ANGLES = (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)
LEADER_FROM = 18.0
"""From this distance on, a line connects a label to its point."""


ROUNDS = 4
"""How often every label may move."""

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle in pixels of the canvas."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, centre: Point, width: float, height: float) -> Box:
        """Return the rectangle of a size around a point."""
        x, y = centre
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def overlap(self, other: Box) -> float:
        """Return the area that two boxes share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, other: Box) -> float:
        """Return the area of this box that lies outside of another."""
        whole = (self.right - self.left) * (self.top - self.bottom)
        return whole - self.overlap(other)

    def nearest(self, point: Point) -> Point:
        """Return the point of the box that is nearest to another point."""
        x, y = point
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


class Candidate(NamedTuple):
    """A place for a label."""

    box: Box
    leader: list[Box]
    effort: float


def label_points(
    axes: Axes,
    points: Sequence[Point],
    texts: Sequence[str],
    colors: Sequence[str],
    *,
    avoid: Sequence[Point] = (),
    size: float = 9.0,
) -> None:
    """Write one label beside each point of a finished plot.

    Args:
        axes: Axes whose limits are final.
        points: Points in data coordinates.
        texts: One label per point.
        colors: One colour per label.
        avoid: Further points, in data coordinates, not to write over.
        size: Font size.
    """
    scale = axes.figure.dpi / 72
    frame = axes.get_window_extent()
    inside = Box(frame.x0, frame.y0, frame.x1, frame.y1)
    centres = [_to_pixels(axes, point) for point in points]
    marks = [Box.around(centre, 11 * scale, 11 * scale) for centre in centres]
    marks += [
        Box.around(_to_pixels(axes, point), 5 * scale, 5 * scale) for point in avoid
    ]
    choices = [
        list(_candidates(centre, _measure(axes, text, size), scale))
        for centre, text in zip(centres, texts, strict=True)
    ]
    for index, found in _arrange(choices, marks, inside).items():
        _write(axes, centres[index], texts[index], colors[index], found, size)


def _arrange(
    choices: Sequence[Sequence[Candidate]], marks: Sequence[Box], inside: Box
) -> dict[int, Candidate]:
    """Choose a place for each label, then again, given where the others went."""
    found: dict[int, Candidate] = {}
    for _, index in itertools.product(range(ROUNDS), range(len(choices))):
        taken = [*marks[:index], *marks[index + 1 :]]
        for other, placed in found.items():
            taken += [placed.box, *placed.leader] if other != index else []
        found[index] = min(
            choices[index], key=partial(_cost, inside=inside, taken=taken)
        )
    return found


def _to_pixels(axes: Axes, point: Point) -> Point:
    x, y = axes.transData.transform(point)
    return float(x), float(y)


def _candidates(
    centre: Point, extent: tuple[float, float], scale: float
) -> Iterator[Candidate]:
    width, height = extent
    for distance, (order, angle) in itertools.product(DISTANCES, enumerate(ANGLES)):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        middle = (
            centre[0] + cosine * (distance * scale + width / 2),
            centre[1] + sine * (distance * scale + height / 2),
        )
        box = Box.around(middle, width, height)
        leader = _leader(centre, box, scale) if distance >= LEADER_FROM else []
        yield Candidate(box, leader, distance + order / len(ANGLES))


def _leader(centre: Point, box: Box, scale: float) -> list[Box]:
    """Return the line from a point to its label, as a chain of small boxes."""
    end = box.nearest(centre)
    shares = [index / 8 for index in range(2, 8)]
    steps = [
        (centre[0] + s * (end[0] - centre[0]), centre[1] + s * (end[1] - centre[1]))
        for s in shares
    ]
    return [Box.around(step, 3 * scale, 3 * scale) for step in steps]


def _cost(candidate: Candidate, *, inside: Box, taken: Sequence[Box]) -> float:
    boxes = (candidate.box, *candidate.leader)
    covered = sum(box.overlap(other) for box in boxes for other in taken)
    return candidate.box.outside(inside) + covered + candidate.effort * 1e-3


def _measure(axes: Axes, text: str, size: float) -> tuple[float, float]:
    drawn = axes.text(0, 0, text, fontsize=size, fontweight="bold")
    extent = drawn.get_window_extent()
    drawn.remove()
    return extent.width + 4, extent.height + 4


def _write(
    axes: Axes, centre: Point, text: str, color: str, found: Candidate, size: float
) -> None:
    to_data = axes.transData.inverted().transform
    box = found.box
    if found.leader:
        (x0, y0), (x1, y1) = to_data([centre, box.nearest(centre)])
        axes.plot((x0, x1), (y0, y1), color=color, linewidth=0.8, alpha=0.7, zorder=2)
    x, y = to_data(((box.left + box.right) / 2, (box.bottom + box.top) / 2))
    axes.text(
        x,
        y,
        text,
        color=color,
        fontsize=size,
        fontweight="bold",
        ha="center",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
        zorder=5,
    )
