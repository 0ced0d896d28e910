"""What a replica of a method is, and the tiny parts that replicas are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.transforms.utils import IMAGENET_NORMALIZE
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, Tensor, nn

from lightly_adv.functional import pixels

BATCH = 4
"""Images in a batch."""
LARGE, SMALL = 16, 12
"""Height and width of a global and of a local crop."""
FEATURES = 8
"""Features of the convolutional backbone."""
PATCH = 4
"""Height and width of a patch of the transformer."""
WIDTH = 16
"""Width of the transformer."""

NORMALIZE = IMAGENET_NORMALIZE
"""With which all images are normalised."""

Batch = Any


@dataclass(frozen=True)
class Method:
    """A method as Lightly documents it, and what adversarial training does with it.

    Args:
        name: The name in Lightly's documentation.
        create: Makes a new LightningModule.
        batch: Draws a batch, in the structure that Lightly's transform gives.
        reached: Numbers of the image views that receive gradient; one entry per
            batch, over and over.
        gradient: The same in words.
        remarks: What else to know.
    """

    name: str
    create: Callable[[], pl.LightningModule]
    batch: Callable[[Generator], Batch]
    reached: tuple[tuple[int, ...], ...]
    gradient: str
    remarks: str = ""


def loader(method: Method, *, steps: int) -> torch.utils.data.DataLoader[Any]:
    """Return a loader over the same batches every time, without random numbers."""
    generator = torch.Generator().manual_seed(0)
    batches = [method.batch(generator) for _ in range(steps)]
    return torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def make_images(generator: Generator, size: int = LARGE) -> Tensor:
    """Draw images, normalised as Lightly's transforms do."""
    smooth = torch.rand(BATCH, 3, PATCH, PATCH, generator=generator)
    drawn = nn.functional.interpolate(smooth, size=size, mode="bilinear")
    noise = torch.rand(drawn.shape, generator=generator)
    return pixels.to_normalized(0.8 * drawn + 0.2 * noise, NORMALIZE)


def labelled(views: Any) -> Batch:
    """Return a batch as `LightlyDataset` gives it: views, labels and file names."""
    return [views, torch.arange(BATCH), tuple(f"{at}.png" for at in range(BATCH))]


def one_view(generator: Generator) -> Batch:
    """Draw what `MAETransform` and the like give: a list with a single view."""
    return labelled([make_images(generator)])


def two_views(generator: Generator) -> Batch:
    """Draw what `SimCLRTransform` and the like give."""
    return labelled([make_images(generator), make_images(generator)])


def views(count: int, *, local: int = 0) -> Callable[[Generator], Batch]:
    """Draw large views, then smaller ones, as multi-crop transforms give them."""

    def draw(generator: Generator) -> Batch:
        sizes = [LARGE] * count + [SMALL] * local
        return labelled([make_images(generator, size) for size in sizes])

    return draw


def feature_map() -> nn.Sequential:
    """Return a small convolutional backbone with BatchNorm, without pooling."""
    return nn.Sequential(
        nn.Conv2d(3, FEATURES, 3, stride=2, padding=1),
        nn.BatchNorm2d(FEATURES),
        nn.ReLU(),
        nn.Conv2d(FEATURES, FEATURES, 3, stride=2, padding=1),
        nn.BatchNorm2d(FEATURES),
        nn.ReLU(),
    )


def convolutional() -> nn.Sequential:
    """Return the same with pooling, as Lightly cuts it out of a ResNet."""
    return feature_map().append(nn.AdaptiveAvgPool2d(1))


def transformer(**options: Any) -> VisionTransformer:
    """Return a vision transformer of one narrow block, for patches of 4 pixels."""
    defaults = {"depth": 1, "num_heads": 2, "num_classes": 0, "embed_dim": WIDTH}
    return VisionTransformer(
        img_size=LARGE, patch_size=PATCH, **{**defaults, **options}
    )
