"""The ball in pixels, and the same ball as a network with normalised views sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import style
from lightly.transforms.utils import IMAGENET_NORMALIZE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Polygon, Rectangle

EPS = 0.13
"""Far larger than 8/255, so that it can be seen."""
SIDE = 2.35
IMAGES = {"Linf": (0.3, 0.72), "L2": (0.72, 0.7), "L1": (0.3, 0.28)}
AT_THE_EDGE = (0.95, 0.1)


def draw(palette: style.Palette) -> Path:
    """Draw both spaces, with two of the many pixels as axes."""
    figure, _ = style.canvas(3.05)
    in_pixels(square(figure, 0.75), palette)
    as_normalised(square(figure, 4.55), palette)
    return style.save(figure, "threat_model", palette)


def square(figure: Figure, left: float) -> Axes:
    """Return square axes at a distance from the left, in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes(
        (left / width, 0.28 / height, SIDE / width, SIDE / height),
        facecolor="none",
    )


def in_pixels(axes: Axes, palette: style.Palette) -> None:
    """Draw the three balls, and one that the range of pixels cuts."""
    warm = look(palette)
    for norm, (x, y) in IMAGES.items():
        radius = EPS * {"Linf": 1.0, "L2": 1.15, "L1": 1.3}[norm]
        axes.add_patch(shape(norm, x, y, radius, warm))
        dot(axes, x, y, palette)
        axes.text(
            x, y + radius + 0.035, norm, color=palette.ink, ha="center", va="bottom"
        )
    x, y = IMAGES["Linf"]
    axes.plot([x, x + EPS], [y, y], color=palette.muted, linewidth=1)
    axes.text(
        x + EPS / 2,
        y + 0.015,
        "eps",
        color=palette.muted,
        ha="center",
        va="bottom",
        size=8,
    )
    x, y = AT_THE_EDGE
    axes.add_patch(
        Rectangle((x - EPS, 0), 1 - x + EPS, y + EPS, **warm)  # what is left of it
    )
    dot(axes, x, y, palette)
    axes.text(
        x + 0.02, y + EPS + 0.035, "cut to the range", color=palette.ink, ha="right"
    )
    frame(axes, palette, "pixels: where eps is measured", (0, 1), ("0", "1"))


def as_normalised(axes: Axes, palette: style.Palette) -> None:
    """Draw one ball again, and the mistake: eps in normalised units."""
    mean, std = IMAGENET_NORMALIZE["mean"][0], IMAGENET_NORMALIZE["std"][0]
    x = y = (0.5 - mean) / std
    axes.add_patch(shape("Linf", x, y, 2 * EPS / std, look(palette)))
    axes.add_patch(
        Rectangle(
            (x - 2 * EPS, y - 2 * EPS),
            4 * EPS,
            4 * EPS,
            fill=False,
            edgecolor=palette.ink,
            linestyle=(0, (3, 2)),
            linewidth=1.2,
        )
    )
    dot(axes, x, y, palette)
    axes.text(
        x, y + 2 * EPS / std + 0.15, "eps / std", color=palette.adversarial, ha="center"
    )
    axes.text(
        x,
        y - 2 * EPS - 0.14,
        f"eps by mistake:\n{1 / std:.1f} times too small",
        color=palette.ink,
        ha="center",
        va="top",
        size=8,
        linespacing=1.3,
    )
    low, high = -mean / std, (1 - mean) / std
    ticks = (f"{low:.1f}".replace("-", "\N{MINUS SIGN}"), f"{high:.1f}")
    frame(axes, palette, "normalised: what the network sees", (low, high), ticks)


def look(palette: style.Palette) -> dict[str, Any]:
    """Return how a ball looks."""
    return {
        "facecolor": palette.adversarial_fill,
        "edgecolor": palette.adversarial,
        "linewidth": 1.4,
    }


def shape(norm: str, x: float, y: float, radius: float, look: dict[str, Any]) -> Patch:
    """Return the ball of a norm in two dimensions."""
    if norm == "L2":
        return Circle((x, y), radius, **look)
    if norm == "Linf":
        return Rectangle((x - radius, y - radius), 2 * radius, 2 * radius, **look)
    corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
    return Polygon(corners, **look)


def dot(axes: Axes, x: float, y: float, palette: style.Palette) -> None:
    """Draw an image, which is a point in this space."""
    axes.plot(x, y, "o", color=palette.clean, markersize=5)


def frame(
    axes: Axes,
    palette: style.Palette,
    title: str,
    limits: tuple[float, float],
    ticks: tuple[str, str],
) -> None:
    """Draw the box of valid pixels as the frame of the axes."""
    axes.set(xlim=limits, ylim=limits)
    axes.set_xticks(limits, ticks, color=palette.muted)
    axes.set_yticks(limits, ticks, color=palette.muted)
    axes.tick_params(length=0, labelsize=8)
    axes.get_xticklabels()[0].set_horizontalalignment("left")
    axes.get_xticklabels()[1].set_horizontalalignment("right")
    axes.get_yticklabels()[0].set_verticalalignment("bottom")
    axes.get_yticklabels()[1].set_verticalalignment("top")
    axes.set_title(title, color=palette.ink, weight="bold", fontsize=9, pad=10)
    axes.set_xlabel("one pixel", color=palette.muted, fontsize=8)
    axes.set_ylabel("another pixel", color=palette.muted, fontsize=8)
    axes.xaxis.set_label_coords(0.5, -0.035)
    axes.yaxis.set_label_coords(-0.05, 0.5)
    for spine in axes.spines.values():
        spine.set(color=palette.clean, linewidth=1.4)
