"""What is trained on: `mode="replace"` beside `mode="dual"`."""

from __future__ import annotations

from pathlib import Path

import style
from matplotlib.axes import Axes

TALL = 0.5
"""Height of a box, in inches."""
LOSS = 5.78
"""Where the boxes of the loss begin."""


def draw(palette: style.Palette) -> Path:
    """Draw both modes, one above the other."""
    figure, axes = style.canvas(3.6)
    replace(axes, palette)
    axes.plot([0.1, style.WIDTH - 0.1], [2.47] * 2, color=palette.line, lw=0.8)
    dual(axes, palette)
    return style.save(figure, "streams", palette)


def replace(axes: Axes, palette: style.Palette) -> None:
    """Draw one stream, of perturbed views."""
    title(axes, 'mode="replace"', 3.38, palette)
    middle = 2.88
    clean(axes, 0.1, middle, 0.75, "views", palette)
    warm(axes, 1.2, middle, 0.75, "attack", palette)
    warm(axes, 2.3, middle, 1.15, "perturbed views", palette)
    clean(axes, 3.8, middle, 1.3, "training_step", palette)
    clean(axes, LOSS, middle, 7.3 - LOSS, "loss", palette)
    for start, end in ((0.85, 1.2), (1.95, 2.3), (3.45, 3.8), (5.1, LOSS)):
        join(axes, (start, middle), (end, middle), palette)


def dual(axes: Axes, palette: style.Palette) -> None:
    """Draw two streams, of which the clean one advances the state."""
    title(axes, 'mode="dual"', 2.2, palette)
    above, below = 1.6, 0.56
    clean(axes, 0.1, above, 0.75, "views", palette)
    clean(axes, 3.8, above, 1.3, "training_step", palette)
    warm(axes, 1.2, below, 0.75, "attack", palette)
    warm(axes, 2.3, below, 1.15, "perturbed views", palette)
    warm(axes, 3.8, below, 1.3, "training_step", palette, dashed=True)
    style.box(
        axes,
        (LOSS, (above + below) / 2 - 0.36),
        (7.3 - LOSS, 0.72),
        "loss =\n(1 \N{MINUS SIGN} weight) · clean\n+ weight · adversarial",
        color=palette.ink,
        edgecolor=palette.muted,
        facecolor=palette.panel,
        fontsize=8,
    )
    join(axes, (0.85, above), (3.8, above), palette)
    axes.plot([0.475] * 2, [above - TALL / 2, below], color=palette.muted, lw=1.3)
    for start, end in ((0.475, 1.2), (1.95, 2.3), (3.45, 3.8)):
        join(axes, (start, below), (end, below), palette)
    join(axes, (5.1, above), (LOSS, (above + below) / 2 + 0.2), palette)
    join(axes, (5.1, below), (LOSS, (above + below) / 2 - 0.2), palette)
    notes = [
        (above + 0.36, "advances moving averages, banks, statistics, logs"),
        (below - 0.38, "isolated, but gradients reach the weights"),
    ]
    for height, text in notes:
        axes.text(
            4.45, height, text, color=palette.muted, ha="center", va="center", size=8
        )


def title(axes: Axes, text: str, height: float, palette: style.Palette) -> None:
    """Write the name of a mode."""
    axes.text(
        0.1,
        height,
        text,
        color=palette.ink,
        va="center",
        weight="bold",
        family="DejaVu Sans Mono",
    )


def clean(
    axes: Axes, left: float, middle: float, width: float, text: str, p: style.Palette
) -> None:
    """Draw a box that the module's own state passes."""
    look = {"color": p.clean, "facecolor": p.clean_fill, "fontsize": 8.5}
    style.box(axes, (left, middle - TALL / 2), (width, TALL), text, **look)


def warm(
    axes: Axes,
    left: float,
    middle: float,
    width: float,
    text: str,
    p: style.Palette,
    *,
    dashed: bool = False,
) -> None:
    """Draw a box that belongs to the adversary."""
    look = {"color": p.adversarial, "facecolor": p.adversarial_fill, "fontsize": 8.5}
    if dashed:
        look["linestyle"] = (0, (4, 2))
    style.box(axes, (left, middle - TALL / 2), (width, TALL), text, **look)


def join(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], p: style.Palette
) -> None:
    """Draw an arrow that ends just before a box."""
    style.arrow(axes, start, end, p.muted, shrinkB=2)
