"""One training batch as a timeline: evaluations that are set aside, one real step."""

from __future__ import annotations

from pathlib import Path

import style
from matplotlib.axes import Axes

LANES = (
    "weights",
    "BatchNorm statistics",
    "moving averages, banks",
    "random streams",
    "logged metrics",
)
EVALUATIONS = (2.0, 3.22, 4.72)
"""Where their boxes begin, in inches."""
WIDE, STEP, REAL = 1.02, 6.06, 1.2


def draw(palette: style.Palette) -> Path:
    """Draw the boxes above, the state of the module below."""
    figure, axes = style.canvas(3.4)
    boxes(axes, palette)
    for number, name in enumerate(LANES):
        lane(axes, name, 1.55 - 0.28 * number, palette)
    legend(axes, palette)
    return style.save(figure, "isolation", palette)


def boxes(axes: Axes, palette: style.Palette) -> None:
    """Draw what happens to one batch, from left to right."""
    warm = {"facecolor": palette.adversarial_fill, "color": palette.adversarial}
    for number, left in zip(("1", "2", "n"), EVALUATIONS, strict=True):
        style.box(
            axes,
            (left, 2.1),
            (WIDE, 0.62),
            f"training_step\n$evaluation\\ {number}$",
            linestyle=(0, (4, 2)),
            fontsize=8.5,
            **warm,
        )
    style.box(
        axes,
        (STEP, 2.1),
        (REAL, 0.62),
        "training_step\nbackward, step",
        facecolor=palette.clean_fill,
        color=palette.clean,
        fontsize=8.5,
    )
    axes.text(4.48, 2.41, "...", color=palette.muted, ha="center", va="center")
    ends = [left + WIDE for left in EVALUATIONS]
    steps = [(1.25, EVALUATIONS[0]), (ends[0], EVALUATIONS[1]), (ends[2], STEP)]
    for start, end in steps:
        style.arrow(axes, (start + 0.03, 2.41), (end - 0.03, 2.41), palette.muted)
    for end in ends:
        axes.text(
            end + 0.02,
            1.93,
            "gradient of\nthe views",
            color=palette.muted,
            ha="center",
            va="center",
            size=7.5,
            linespacing=1.2,
        )
    titles = [
        (0.95, "views", palette.ink),
        ((EVALUATIONS[0] + EVALUATIONS[2] + WIDE) / 2, "the attack", warm["color"]),
        (STEP + REAL / 2, "the real step", palette.clean),
    ]
    for at, text, color in titles:
        height = 2.41 if text == "views" else 3.02
        axes.text(
            at, height, text, color=color, ha="center", va="center", weight="bold"
        )


def lane(axes: Axes, name: str, height: float, palette: style.Palette) -> None:
    """Draw one part of the state: excursions that end, then one advance that stays."""
    axes.text(1.72, height, name, color=palette.ink, ha="right", va="center", size=8.5)
    up = 0.13
    for left in EVALUATIONS:
        axes.plot(
            [left, left + 0.25, left + WIDE, left + WIDE],
            [height, height + up, height + up, height],
            color=palette.adversarial,
            linestyle=(0, (3, 1.5)),
            linewidth=1.2,
        )
    axes.plot(
        [1.82, STEP, STEP + 0.25, STEP + REAL],
        [height, height, height + up, height + up],
        color=palette.clean,
        linewidth=1.8,
        solid_capstyle="round",
    )


def legend(axes: Axes, palette: style.Palette) -> None:
    """Say what the two kinds of lines are."""
    entries = [
        (1.82, palette.clean, "-", "the module"),
        (
            3.1,
            palette.adversarial,
            (0, (3, 1.5)),
            "stand-ins, gone with the evaluation",
        ),
    ]
    for left, color, linestyle, text in entries:
        axes.plot([left, left + 0.3], [0.13] * 2, color=color, ls=linestyle, lw=1.5)
        axes.text(left + 0.38, 0.13, text, color=palette.muted, va="center", size=8)
