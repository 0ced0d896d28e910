"""Draw what each unforeseen attack does to an image: unforeseen.png.

`python docs/figures/unforeseen.py` takes a few minutes on a CPU. The images are
those that scikit-learn comes with; a small network learns to tell crops of them apart,
and is then attacked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.optim.adam import Adam

from lightly_adv.evaluation import figures
from lightly_adv.evaluation.figures import canvas
from lightly_adv.evaluation.unforeseen import (
    PUBLISHED,
    attack_images,
    create_unforeseen_attack,
)
from lightly_adv.models import create_backbone

HERE = Path(__file__).parent
TRAINING_STEPS, BATCH, SIZE = 60, 32, 32
ATTACK_STEPS = 50
STRENGTHS = (2, 4, 5)
"""Which of the six are shown, counted from 0."""

FLOWER, CHINA = 0, 1


def photographs() -> list[Tensor]:
    """Return the photographs, each of shape (3, H, W) in [0, 1]."""
    found = (load_sample_image(f"{name}.jpg") for name in ("flower", "china"))
    return [torch.tensor(each).permute(2, 0, 1) / 255 for each in found]


def crops(images: list[Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return random crops, scaled down, and which image each is of."""
    labels = torch.randint(2, (BATCH,), generator=generator)
    drawn = []
    for label in labels.tolist():
        image = images[label]
        side = int(torch.randint(200, 400, (1,), generator=generator))
        top, left = (
            int(torch.randint(0, length - side, (1,), generator=generator))
            for length in image.shape[1:]
        )
        crop = image[None, :, top : top + side, left : left + side]
        drawn.append(F.interpolate(crop, (SIZE, SIZE), mode="area"))
    return torch.cat(drawn), labels


def trained(images: list[Tensor]) -> nn.Module:
    """Return a network that tells crops of the photographs apart."""
    torch.manual_seed(0)
    network = nn.Sequential(create_backbone("resnet8_tiny"), nn.Linear(128, 2))
    optimizer = Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(TRAINING_STEPS):
        images, labels = crops(images, generator)
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def draw(path: Path = HERE / "unforeseen.png") -> Path:
    """Draw the figure; return where it is."""
    images = photographs()
    model = trained(images)
    flower = images[FLOWER][None, :, 20:400, 130:510]
    clean = F.interpolate(flower, (SIZE, SIZE), mode="area")
    columns = 1 + len(PUBLISHED)
    figure = canvas.new_figure(0.92 * columns, 1.0 * len(STRENGTHS) + 0.3)
    grid = figure.subplots(len(STRENGTHS), columns, squeeze=False)
    figure.subplots_adjust(0, 0, 1, 0.93, wspace=0.05, hspace=0.05)
    for axes in grid.flat:
        axes.set_axis_off()
    shown = {"image": [clean] * len(STRENGTHS)}
    for name in PUBLISHED:
        attack = create_unforeseen_attack(name)
        shown[name] = [
            attack_images(
                model,
                clean,
                torch.tensor([CHINA]),
                attack,
                eps=attack.eps[strength],
                steps=ATTACK_STEPS,
                generator=torch.Generator().manual_seed(0),
            )
            for strength in STRENGTHS
        ]
    for column, (name, found) in enumerate(shown.items()):
        grid[0][column].set_title(name, fontsize=8, color=canvas.INK, pad=3)
        for row, images in enumerate(found):
            if name == "image" and row:
                continue
            grid[row][column].imshow(images[0].permute(1, 2, 0).numpy())
    for row, strength in enumerate(STRENGTHS[1:], start=1):
        text = f"strength {strength + 1}"
        grid[row][0].text(0.5, 0.5, text, ha="center", fontsize=8, color=canvas.MUTED)
    grid[0][0].text(
        0.5,
        -0.12,
        f"strength {STRENGTHS[0] + 1}:",
        transform=grid[0][0].transAxes,
        ha="center",
        fontsize=7,
        color=canvas.MUTED,
    )
    return figures.save(figure, path)


if __name__ == "__main__":
    sys.stdout.write(f"{draw()}\n")
