"""What rotation, jigsaw and selfie ask about one image."""

from __future__ import annotations

from pathlib import Path

import style
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Generator, Tensor

from lightly_adv.data import DigitsDataModule
from lightly_adv.pretext import JigsawTask, RotationTask, SelfieTask, tiles

SHOWN = 3
"""The number of the test image: a six."""
SIDE = 1.3
"""Of an image, in inches."""
LEFT = (0.1, 1.95, 3.75, 5.55)
BOTTOM = 0.62


def digit_image() -> Tensor:
    """Return a white digit on colours that tell top from bottom, left from right."""
    data = DigitsDataModule()
    digit = data.test_dataset[SHOWN][0]
    across = torch.linspace(0, 1, 32).expand(32, 32)
    ground = torch.stack(
        [0.1 + 0.7 * across, 0.35 - 0.2 * across.T, 0.75 - 0.6 * across.T]
    )
    return ground + (1 - ground) * digit


def draw(palette: style.Palette) -> Path:
    """Draw the image, the three questions, and their answers."""
    figure, axes = style.canvas(2.35)
    image = digit_image()[None]
    generator = Generator().manual_seed(4)
    titles = ("image", "rotation", "jigsaw", "selfie")
    for left, title in zip(LEFT, titles, strict=True):
        color = palette.muted if title == "image" else palette.clean
        middle = left + SIDE / 2
        axes.text(
            middle, 2.14, title, color=color, ha="center", va="center", weight="bold"
        )
    show(axes, image[0], LEFT[0], palette)

    rotation = RotationTask("resnet8_tiny")
    turned, turns = rotation.draw(image.expand(4, -1, -1, -1), generator)
    shown = int((turns == 3).nonzero()[0])
    show(axes, turned[shown], LEFT[1], palette)
    say(
        axes,
        LEFT[1],
        "by how much was it turned?",
        f"{90 * int(turns[shown])}°",
        palette,
    )

    jigsaw = JigsawTask("resnet8_tiny")
    shuffled, orders = jigsaw.draw(image.expand(8, -1, -1, -1), generator)
    shown = int(orders.nonzero()[0])
    show(axes, shuffled[shown], LEFT[2], palette, grid=jigsaw.grid)
    answer = f"number {int(orders[shown])} of 30"
    say(axes, LEFT[2], "by which permutation?", answer, palette)

    selfie = SelfieTask("resnet8_tiny", depth=1)
    hide(axes, image, selfie.draw(image, generator)[1][0, : selfie.num_masked], palette)
    return style.save(figure, "pretext", palette)


def hide(axes: Axes, image: Tensor, hidden: Tensor, palette: style.Palette) -> None:
    """Show the image without its hidden patches, and these beside it."""
    show(axes, image[0], LEFT[3], palette, grid=4)
    patches = tiles.split_tiles(image, 4)[0]
    side = SIDE / 4
    for number, place in enumerate(hidden.tolist()):
        corner = LEFT[3] + place % 4 * side, BOTTOM + SIDE - (place // 4 + 1) * side
        axes.add_patch(
            Rectangle(
                corner, side, side, facecolor=palette.panel, edgecolor=palette.line
            )
        )
        middle = corner[0] + side / 2, corner[1] + side / 2
        mark = dict(ha="center", va="center", size=9, weight="bold")
        axes.text(*middle, "?", color=palette.adversarial, **mark)
        bottom = BOTTOM + SIDE - (number + 1) * side
        left = LEFT[3] + SIDE + 0.14
        put(axes, patches[place], (left, bottom + 0.015), side - 0.03)
    say(axes, LEFT[3], "which patch goes where?", "one choice of four each", palette)


def show(
    axes: Axes, image: Tensor, left: float, palette: style.Palette, *, grid: int = 1
) -> None:
    """Show an image in its column, with the lines of its grid."""
    put(axes, image, (left, BOTTOM), SIDE)
    for at in range(1, grid):
        shift = at * SIDE / grid
        ends = [left, left + SIDE], [BOTTOM, BOTTOM + SIDE]
        axes.plot([left + shift] * 2, ends[1], color=palette.panel, lw=0.8)
        axes.plot(ends[0], [BOTTOM + shift] * 2, color=palette.panel, lw=0.8)


def put(axes: Axes, image: Tensor, corner: tuple[float, float], side: float) -> None:
    """Show pixels (3, H, W) with their lower left corner at a point."""
    left, bottom = corner
    pixels = image.clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
    axes.imshow(
        pixels.repeat(8, axis=0).repeat(8, axis=1),
        extent=(left, left + side, bottom, bottom + side),
        interpolation="none",
        aspect="auto",
    )


def say(
    axes: Axes, left: float, question: str, answer: str, palette: style.Palette
) -> None:
    """Write question and answer under an image."""
    middle = left + SIDE / 2
    axes.text(
        middle, 0.44, question, color=palette.ink, ha="center", va="center", size=8
    )
    axes.text(
        middle, 0.2, answer, color=palette.clean, ha="center", va="center", size=8.5
    )
