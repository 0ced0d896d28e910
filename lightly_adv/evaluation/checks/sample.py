"""A few of the images of an evaluation, whatever the order they come in."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

SIZE = 64
"""How many images the checks look at."""


class Sample:
    """Keeps some of the images that pass by.

    Data are often sorted by class, and how many come is not known before the end: so
    every image draws a number, and those with the lowest ones stay. The numbers
    depend only on the index of an image, and are the same in every run and process.

    Args:
        size: How many images to keep.

    Examples:
        >>> sample = Sample(size=2)
        >>> batches = [(torch.rand(3, 1, 2, 2), torch.arange(3))] * 2
        >>> sum(len(labels) for _, labels in sample.of(batches))
        6
        >>> images, labels = sample.batch()
        >>> images.shape, sample.indices
        (torch.Size([2, 1, 2, 2]), [3, 2])
    """

    def __init__(self, *, size: int = SIZE) -> None:
        self._size = size
        self._draws = np.random.default_rng(0)
        self._seen = 0
        self._kept: list[tuple[float, int, Tensor, Tensor]] = []

    def of(
        self, batches: Iterable[tuple[Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches, and keep some of their images."""
        for images, labels in batches:
            self._take(images, labels)
            yield images, labels

    @property
    def indices(self) -> list[int]:
        """Numbers of the images that are kept, counted over all that passed by."""
        return [index for _, index, _, _ in self._alike()]

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the images that are kept and their labels."""
        kept = self._alike()
        images = torch.stack([image for _, _, image, _ in kept])
        return images, torch.stack([label for _, _, _, label in kept]).long()

    def _take(self, images: Tensor, labels: Tensor) -> None:
        worst = self._kept[-1][0] if len(self._kept) == self._size else 1.0
        for row, drawn in enumerate(self._draws.random(len(images))):
            if drawn < worst:  # copies, which do not keep the whole batch
                kept = images[row].cpu().clone(), labels[row].cpu().clone()
                self._kept.append((float(drawn), self._seen + row, *kept))
        self._kept = heapq.nsmallest(
            self._size, self._kept, key=lambda entry: entry[:2]
        )
        self._seen += len(images)

    def _alike(self) -> list[tuple[float, int, Tensor, Tensor]]:
        """Return those of one size, in the order of what they drew.

        So the first of them are as mixed as all of them.
        """
        shape = self._kept[0][2].shape
        return [each for each in self._kept if each[2].shape == shape]
