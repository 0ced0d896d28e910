"""Colours and small shapes that the figures of the documentation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).parent
WIDTH = 7.4
"""Inches; as wide as the text of the site."""


@dataclass(frozen=True)
class Palette:
    """The colours of one figure, on a light or a dark page."""

    name: str
    ink: str
    muted: str
    line: str
    panel: str
    clean: str
    clean_fill: str
    adversarial: str
    adversarial_fill: str


LIGHT = Palette(
    name="light",
    ink="#1f2328",
    muted="#59636e",
    line="#c3cad2",
    panel="#f4f6f8",
    clean="#0068b0",
    clean_fill="#dcecf9",
    adversarial="#c24a00",
    adversarial_fill="#fde7d9",
)
DARK = Palette(
    name="dark",
    ink="#e3e6ea",
    muted="#a0a8b2",
    line="#4a525c",
    panel="#20252b",
    clean="#5db3f5",
    clean_fill="#12334d",
    adversarial="#ff9a52",
    adversarial_fill="#4d2a12",
)

SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "lightly_adv",
    "mathtext.default": "regular",
}


def canvas(height: float) -> tuple[Figure, Axes]:
    """Return a figure without background, and axes that measure in inches."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    return figure, axes


def save(figure: Figure, name: str, palette: Palette) -> Path:
    """Write `name-light.svg` or `name-dark.svg`, the same bytes every time."""
    path = HERE / f"{name}-{palette.name}.svg"
    figure.savefig(path, metadata={"Date": None}, transparent=True)
    return path


def box(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    text: str = "",
    **look: Any,
) -> tuple[float, float]:
    """Draw a rounded box with text in its middle; return that middle."""
    color, weight = look.pop("color", "black"), look.pop("weight", "normal")
    fontsize = look.pop("fontsize", 9)
    look = {"edgecolor": color, "facecolor": "none", "linewidth": 1.2, **look}
    patch = FancyBboxPatch(
        corner, *size, boxstyle="round,pad=0,rounding_size=0.07", **look
    )
    axes.add_patch(patch)
    middle = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    axes.text(
        *middle,
        text,
        ha="center",
        va="center",
        color=color,
        weight=weight,
        fontsize=fontsize,
        linespacing=1.35,
    )
    return middle


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    **look: Any,
) -> None:
    """Draw an arrow between two points."""
    options: dict[str, Any] = {
        "arrowstyle": "-|>,head_width=0.22,head_length=0.4",
        "color": color,
    }
    options |= {"shrinkA": 0, "shrinkB": 0, "linewidth": 1.3, **look}
    axes.annotate("", end, start, arrowprops=options)


Drawing = Callable[[Palette], Path]
