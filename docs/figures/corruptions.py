"""All corruptions at one severity, on one image.

`python docs/figures/corruptions.py` writes corruptions.png; flower.jpg comes from
scikit-learn: flickr.com/photos/vultilion/6056698931, CC BY 2.0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from lightly_adv.evaluation.corruptions import COMMON, PUBLISHED, corrupt
from lightly_adv.evaluation.figures import canvas

OUT = Path(__file__).with_suffix(".png")
SEVERITY = 5
SIDE = 64
COLUMNS = 5
CELL = 1.1
"""Width of an image, in inches."""

NAME = 0.24
"""Height of a name, in inches."""

DPI = 110


def main() -> None:
    """Write the figure."""
    image = flower()
    shown = {"clean": image}
    shown |= {name: corrupt(image, name, SEVERITY) for name in PUBLISHED}
    rows = -(-len(shown) // COLUMNS)
    width, height = COLUMNS * CELL, rows * (CELL + NAME)
    figure = canvas.new_figure(width, height)
    for index, (name, image) in enumerate(shown.items()):
        row, column = divmod(index, COLUMNS)
        bottom = height - (row + 1) * (CELL + NAME)
        left, size = column * CELL / width, 0.96 * CELL
        place = (left, bottom / height, size / width, size / height)
        axes = figure.add_axes(place)
        axes.imshow(image[0].permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.axis("off")
        common = name in COMMON or name == "clean"
        color = canvas.INK if common else canvas.MUTED
        axes.set_title(name.replace("_", " "), fontsize=8, color=color, pad=2)
    figure.savefig(OUT, dpi=DPI)
    # As 256 colours it takes half of the space.
    Image.open(OUT).convert("RGB").quantize(256).save(OUT, optimize=True)
    sys.stdout.write(f"{OUT}: {OUT.stat().st_size:,} bytes\n")


def flower() -> Tensor:
    """Return the middle of the image, of shape (1, 3, SIDE, SIDE)."""
    whole = torch.from_numpy(load_sample_image("flower.jpg").copy())
    image = whole.permute(2, 0, 1)[None].float() / 255
    side = min(image.shape[2:])
    left = (image.shape[3] - side) // 2
    square = image[:, :, :side, left : left + side]
    return F.interpolate(square, size=(SIDE, SIDE), mode="area")


if __name__ == "__main__":
    main()
