"""Data sets that hand out whole batches, without a loop over the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightly_adv.data.training_loader import Draw
from lightly_adv.transforms import Compose

Source: TypeAlias = Callable[[Tensor], Tensor]
"""From indices (B,) to images (B, 3, H, W), uint8 or float32 in [0, 1]."""

T = TypeVar("T")


@dataclass(frozen=True)
class InMemory:
    """Images that are one tensor of shape (N, 3, H, W)."""

    images: Tensor

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the images with these indices."""
        return self.images[indices]


@dataclass(frozen=True)
class Images:
    """Images and their labels (N,), all of a set or one part of it."""

    source: Source
    labels: Tensor


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Some of the images of a set, read batch by batch.

    A `DataLoader` finds `__getitems__` and asks for a batch at once; give it
    `collate_fn=identity`, for there is nothing left to collate.

    Args:
        images: The set.
        indices: Which of its images belong here, shape (M,).
        augmentation: What is done to a batch of uint8 or float images.

    Examples:
        >>> images = torch.full((4, 3, 8, 8), 255, dtype=torch.uint8)
        >>> images = Images(InMemory(images), labels=torch.arange(4))
        >>> dataset = ImageDataset(images, torch.tensor([1, 3]))
        >>> images, labels = dataset.__getitems__([0, 1])
        >>> images.dtype, images.max().item(), labels
        (torch.float32, 1.0, tensor([1, 3]))
    """

    def __init__(
        self,
        images: Images,
        indices: Tensor,
        *,
        augmentation: Compose | None = None,
    ) -> None:
        self.images = images
        self.indices = indices
        self.augmentation = augmentation

    @property
    def labels(self) -> Tensor:
        """The labels of all images here, shape (M,)."""
        return self.images.labels[self.indices]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, index: int | Draw) -> tuple[Tensor, Tensor]:
        """Return one image (3, H, W) and its label."""
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, batch: Sequence[int | Draw]) -> tuple[Tensor, Tensor]:
        """Return images (B, 3, H, W), float32 in [0, 1], and labels (B,).

        Args:
            batch: Numbers of the images. Where they come as `Draw`, the augmentation
                is drawn from the first one, else from torch's global generator.
        """
        first = batch[0]
        generator = first.generator() if isinstance(first, Draw) else None
        numbers = [each.image if isinstance(each, Draw) else each for each in batch]
        indices = self.indices[torch.as_tensor(numbers)]
        images = self.images.source(indices)
        if self.augmentation is not None:
            images = self.augmentation(images, generator)
        return _to_pixels(images), self.images.labels[indices]


def identity(batch: T) -> T:
    """Return a batch as it is: the `collate_fn` for `ImageDataset`."""
    return batch


def _to_pixels(images: Tensor) -> Tensor:
    return images / 255 if images.dtype == torch.uint8 else images
