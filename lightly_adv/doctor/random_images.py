"""Made-up images, for an examination without data."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lightly_adv.functional import pixels
from lightly_adv.lightning import pl
from lightly_adv.models.normalization import IMAGENET_NORMALIZE
from lightly_adv.types import NormalizeStats


class RandomImages(pl.LightningDataModule):
    """One batch of random images, in the structure of `LightlyDataset`.

    A batch is `(views, labels, names)`; with `views=0` it is `(images, labels)`, as
    classifiers take it.

    Args:
        size: Height and width of the images.
        views: Number of views.
        batch_size: Number of images.
        num_classes: Number of classes of the labels.
        normalize: Mean and std that the views are normalised with; by default those of
            Lightly's transforms. None for plain pixels.

    Raises:
        ValueError: If a number is too small.

    Examples:
        >>> views, labels, names = next(iter(RandomImages(96).train_dataloader()))
        >>> len(views), views[0].shape, labels.shape
        (2, torch.Size([8, 3, 96, 96]), torch.Size([8]))
    """

    def __init__(
        self,
        size: int = 64,
        *,
        views: int = 2,
        batch_size: int = 8,
        num_classes: int = 10,
        normalize: NormalizeStats | None = IMAGENET_NORMALIZE,
    ) -> None:
        super().__init__()
        if min(size, batch_size, num_classes) < 1 or views < 0:
            raise ValueError(
                f"size={size}, batch_size={batch_size}, num_classes={num_classes} and "
                f"views={views}; expected at least 1, 1, 1 and 0."
            )
        self.size = size
        self.views = views
        self.batch_size = batch_size
        self.num_classes = num_classes
        self.normalize = normalize

    def train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of the one batch."""
        return DataLoader(_OneBatch(self), batch_size=None)

    def batch(self) -> tuple[Any, ...]:
        """Return the batch, normalised as `normalize` says by now."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.batch_size, 3, self.size, self.size)
        drawn = [
            torch.randint(256, shape, generator=generator) / 255
            for _ in range(max(1, self.views))
        ]
        images = [pixels.to_normalized(each, self.normalize) for each in drawn]
        labels = torch.arange(self.batch_size) % self.num_classes
        names = [f"{at}.png" for at in range(self.batch_size)]
        return (images, labels, names) if self.views else (images[0], labels)


class _OneBatch(Dataset[Any]):
    def __init__(self, images: RandomImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.images.batch()
