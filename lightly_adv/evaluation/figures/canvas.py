"""Blank figures, their style, and how they are saved.

Figures are made without pyplot: they need no display, and are freed with the last
reference to them.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#b8860b",
    "#5d4a9c",
    "#555555",
)
"""Colours that people with colour blindness can tell apart, after Okabe and Ito."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""One fewer than colours, so that 56 names differ in colour or marker."""

INK, MUTED, FAINT = "#222222", "#6b6b6b", "#e4e4e4"
WRONG = "#c62828"
DPI = 200


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "figures need matplotlib: pip install lightly-adv[plot]"
        ) from error
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def names_as_they_are(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw names such as `a$b$c` literally, not as formulas."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        try:
            import matplotlib as mpl
        except ImportError:  # `new_figure` reports it
            return draw(*args, **kwargs)
        with mpl.rc_context({"text.parse_math": False}):
            return draw(*args, **kwargs)

    return drawn


def look(index: int) -> tuple[str, str]:
    """Return the colour and marker of the name at an index."""
    return COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]


def plain_axes(figure: Figure, rectangle: tuple[float, float, float, float]) -> Axes:
    """Add axes with a faint grid and no frame; the rectangle is in figure fractions."""
    axes = figure.add_axes(rectangle)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=8, length=3)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def draw_legend(axes: Axes, heights: Sequence[float]) -> None:
    """Draw a legend beside the axes, from the highest to the lowest.

    Args:
        axes: The axes.
        heights: Height of each labelled artist, in the order of drawing.
    """
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda index: -heights[index])
    axes.legend(
        [handles[index] for index in order],
        [names[index] for index in order],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def note(axes: Axes, text: str) -> None:
    """Write a small note below the right end of the axes."""
    axes.annotate(
        text,
        (1.0, 0.0),
        (0, -24),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=MUTED,
    )


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file; the suffix is the format (png, pdf, svg).

    Args:
        figure: The figure.
        path: Where to write it. Missing folders are made.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1)
    return path


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()
