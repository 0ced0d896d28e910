"""Two views of one image in SimCLR, clean and as the callback perturbs them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import style
import timm
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Generator, Tensor, nn

import lightly_adv.models  # noqa: F401
from lightly_adv import PGD, ThreatModel, isolated
from lightly_adv.data import DigitsDataModule

ATTACK = PGD(ThreatModel(eps=8 / 255), steps=5, step_size=2 / 255)
AMPLIFIED = 8
TRAINING_STEPS = 60
SHOWN = 3
"""The number of the test image that is shown: a six."""
SIDE = 1.18
"""Of an image, in inches."""


class SimCLR(nn.Module):
    """The network that is attacked: small, trained for seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet8_tiny", num_classes=0)
        self.projection_head = SimCLRProjectionHead(128, 128, 64)

    def forward(self, view: Tensor) -> Tensor:
        """Return embeddings of length one."""
        embedding: Tensor = self.projection_head(self.backbone(view))
        return F.normalize(embedding)


@dataclass(frozen=True)
class Found:
    """Clean and perturbed views (2, 3, H, W) of one image, and what they did."""

    clean: Tensor
    perturbed: Tensor
    similarity: tuple[float, float]
    loss: tuple[float, float]


def augment(images: Tensor, generator: Generator) -> Tensor:
    """Crop, and draw a colour for the ground and one for the digit."""
    count = len(images)
    scale = 0.65 + 0.3 * torch.rand(count, 1, 1, generator=generator)
    shift = (1 - scale) * (2 * torch.rand(count, 2, 1, generator=generator) - 1)
    grid = F.affine_grid(
        torch.cat([scale * torch.eye(2), shift], dim=2), list(images.shape), False
    )
    cropped = F.grid_sample(images, grid, align_corners=False, padding_mode="border")
    drawn = torch.rand(2, count, 3, 1, 1, generator=generator)
    ground, digit = 0.05 + 0.45 * drawn[0], 0.65 + 0.3 * drawn[1]
    return ground + (digit - ground) * cropped


@functools.cache
def found() -> Found:
    """Train SimCLR on the digits, then attack a batch of test images."""
    pl.seed_everything(0, verbose=False)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    data = DigitsDataModule(batch_size=128)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    model, criterion = SimCLR(), NTXentLoss(temperature=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    epochs = itertools.chain.from_iterable(itertools.repeat(data.train_dataloader()))
    for images, _ in itertools.islice(epochs, TRAINING_STEPS):
        views = [augment(images, generator) for _ in range(2)]
        loss = criterion(model(views[0]), model(views[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, _ = next(iter(data.test_dataloader()))
    generator.manual_seed(4)  # its colours are easy to tell apart
    views = [augment(images[:64], generator) for _ in range(2)]
    return attacked(model.eval(), criterion, views, generator)


def attacked(
    model: SimCLR, criterion: nn.Module, views: list[Tensor], generator: Generator
) -> Found:
    """Raise the loss of both views at once, as the callback does."""

    def objective(given: Sequence[Tensor]) -> Tensor:
        with isolated(model):
            loss: Tensor = criterion(model(given[0]), model(given[1]))
        return loss

    perturbed = ATTACK(objective, views, generator=generator)
    with torch.no_grad():
        near, losses = zip(
            *(
                (float((model(first) * model(second)).sum(dim=1).mean()), float(loss))
                for first, second in (views, perturbed)
                for loss in [criterion(model(first), model(second))]
            ),
            strict=True,
        )
    return Found(
        clean=torch.stack([view[SHOWN] for view in views]),
        perturbed=torch.stack([view[SHOWN] for view in perturbed]),
        similarity=near,
        loss=losses,
    )


def draw(palette: style.Palette) -> Path:
    """Draw clean views, perturbations, adversarial views, and what they do."""
    figure, axes = style.canvas(3.35)
    seen = found()
    noise = 0.5 + AMPLIFIED * (seen.perturbed - seen.clean)
    columns = [
        (0.62, seen.clean, "clean view", palette.clean),
        (
            2.25,
            noise,
            f"perturbation \N{MULTIPLICATION SIGN} {AMPLIFIED}",
            palette.muted,
        ),
        (3.88, seen.perturbed, "adversarial view", palette.adversarial),
    ]
    for left, images, title, color in columns:
        middle = left + SIDE / 2
        axes.text(
            middle, 3.12, title, color=color, ha="center", va="center", weight="bold"
        )
        for row, image in enumerate(images):
            place(axes, image, (left, 1.72 - 1.3 * row), color)
    for row, bottom in enumerate((1.72, 0.42)):
        height = bottom + SIDE / 2
        axes.text(0.3, height, f"$x_{row}$", color=palette.ink, va="center", size=11)
        for left, sign in ((1.8, "+"), (3.43, "=")):
            at = left + 0.225, height
            axes.text(*at, sign, color=palette.ink, ha="center", va="center", size=14)
    axes.text(
        5.5, 0.16, "means over 64 digits", color=palette.muted, va="center", size=8
    )
    ball = r"no pixel moves by more than $\varepsilon$ = 8/255"
    axes.text(2.84, 0.16, ball, color=palette.muted, ha="center", va="center", size=8)
    meters(axes, seen, palette)
    return style.save(figure, "views", palette)


def place(axes: Axes, image: Tensor, corner: tuple[float, float], color: str) -> None:
    """Show an image (3, H, W) with its lower left corner at a point, and a frame."""
    left, bottom = corner
    pixels = image.clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
    axes.imshow(
        pixels.repeat(8, axis=0).repeat(8, axis=1),
        extent=(left, left + SIDE, bottom, bottom + SIDE),
        interpolation="none",
        aspect="auto",
    )
    axes.add_patch(Rectangle(corner, SIDE, SIDE, fill=False, edgecolor=color, lw=1.4))


def meters(axes: Axes, seen: Found, palette: style.Palette) -> None:
    """Write what the views do to the loss of the training step."""
    left = 5.5
    style.arrow(axes, (5.16, 1.66), (5.42, 1.66), palette.muted)
    rows = [
        ("loss of your training_step", seen.loss, 2.36),
        ("similarity of the embeddings", seen.similarity, 1.2),
    ]
    for title, values, top in rows:
        axes.text(left, top, title, color=palette.ink, va="center", size=8.5)
        for at, (name, color) in enumerate(
            (("clean", palette.clean), ("adversarial", palette.adversarial))
        ):
            height = top - 0.27 - 0.24 * at
            value = f"{values[at]:.2f}"
            axes.text(left, height, name, color=color, va="center", size=8.5)
            axes.text(
                left + 1.42,
                height,
                value.replace("-", "\N{MINUS SIGN}"),
                color=color,
                va="center",
                ha="right",
                weight="bold",
            )
