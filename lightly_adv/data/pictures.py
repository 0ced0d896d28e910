"""Data sets that hand out whole batches, without a loop over the pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from lightly_adv.data.training_loader import Draw
from lightly_adv.transforms import crop_flip

Source: TypeAlias = Callable[[Tensor], Tensor]
"""From indices (B,) to pictures (B, 3, H, W), uint8 or float32 in [0, 1]."""

T = TypeVar("T")


@dataclass(frozen=True)
class InMemory:
    """Pictures that are one tensor of shape (N, 3, H, W)."""

    images: Tensor

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the pictures with these indices."""
        return self.images[indices]


@dataclass(frozen=True)
class Pictures:
    """Pictures and their labels (N,), all of a set or one part of it."""

    source: Source
    labels: Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random crop and flip of the training pictures, see `transforms.crop_flip`."""

    padding: int
    flip_probability: float

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw one crop and flip for each picture; None is the global generator."""
        drawn = crop_flip.draw_crop_flip(
            len(images),
            padding=self.padding,
            flip_probability=self.flip_probability,
            generator=generator,
        )
        return crop_flip.crop_flip(images, drawn, padding=self.padding)


class PictureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Some of the pictures of a set, read batch by batch.

    A `DataLoader` finds `__getitems__` and asks for a batch at once; give it
    `collate_fn=identity`, for there is nothing left to collate.

    Args:
        pictures: The set.
        indices: Which of its pictures belong here, shape (M,).
        augmentation: What is done to a batch of uint8 or float pictures.

    Examples:
        >>> images = torch.full((4, 3, 8, 8), 255, dtype=torch.uint8)
        >>> pictures = Pictures(InMemory(images), labels=torch.arange(4))
        >>> dataset = PictureDataset(pictures, torch.tensor([1, 3]))
        >>> images, labels = dataset.__getitems__([0, 1])
        >>> images.dtype, images.max().item(), labels
        (torch.float32, 1.0, tensor([1, 3]))
    """

    def __init__(
        self,
        pictures: Pictures,
        indices: Tensor,
        *,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.pictures = pictures
        self.indices = indices
        self.augmentation = augmentation

    @property
    def labels(self) -> Tensor:
        """The labels of all pictures here, shape (M,)."""
        return self.pictures.labels[self.indices]

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.indices)

    def __getitem__(self, index: int | Draw) -> tuple[Tensor, Tensor]:
        """Return one picture (3, H, W) and its label."""
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, batch: Sequence[int | Draw]) -> tuple[Tensor, Tensor]:
        """Return pictures (B, 3, H, W), float32 in [0, 1], and labels (B,).

        Args:
            batch: Numbers of the pictures. Where they come as `Draw`, the augmentation
                is drawn from the first one, else from torch's global generator.
        """
        first = batch[0]
        generator = first.generator() if isinstance(first, Draw) else None
        numbers = [each.image if isinstance(each, Draw) else each for each in batch]
        indices = self.indices[torch.as_tensor(numbers)]
        images = self.pictures.source(indices)
        if self.augmentation is not None:
            images = self.augmentation(images, generator)
        return _to_pixels(images), self.pictures.labels[indices]


def identity(batch: T) -> T:
    """Return a batch as it is: the `collate_fn` for `PictureDataset`."""
    return batch


def _to_pixels(images: Tensor) -> Tensor:
    return images / 255 if images.dtype == torch.uint8 else images
