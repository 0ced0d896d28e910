"""Data sets that yield whole batches, without a loop over the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from lightly.transforms.multi_view_transform import MultiViewTransform
from torch import Generator, Tensor
from torch.utils.data import Dataset
from torchvision.transforms import functional as image_functions

from lightly_adv.data.training_loader import Draw
from lightly_adv.isolation import rng
from lightly_adv.transforms import BatchedTransform, Compose

Source: TypeAlias = Callable[[Tensor], Tensor]
"""From indices (B,) to images (B, 3, H, W), uint8 or float32 in [0, 1]."""

Transform: TypeAlias = Callable[[Any], Any]
"""From a PIL image to a view (3, H, W) or a list of views, as Lightly's transforms."""

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


class ImageDataset(Dataset[tuple[Any, Tensor]]):
    """Some of the images of a set, read batch by batch.

    A `DataLoader` finds `__getitems__` and asks for a batch at once; give it
    `collate_fn=identity`, as there is nothing left to collate.

    Args:
        images: The set.
        indices: Which of its images belong here, shape (M,).
        augmentation: What is done to a batch of uint8 or float images.
        transform: What makes views of an image, in place of an augmentation; the views
            of a batch are made together where `BatchedTransform` knows how. If it has
            a method `set_epoch`, it is told the epoch of a training batch.

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
        transform: Transform | None = None,
    ) -> None:
        self.images = images
        self.indices = indices
        self.augmentation = augmentation
        self.transform = transform

    @property
    def labels(self) -> Tensor:
        """The labels of all images here, shape (M,)."""
        return self.images.labels[self.indices]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    def __getitem__(self, index: int | Draw) -> tuple[Any, Tensor]:
        """Return one image (3, H, W), or its views, and its label."""
        images, labels = self.__getitems__([index])
        if isinstance(images, list):
            return [view[0] for view in images], labels[0]
        return images[0], labels[0]

    def __getitems__(self, batch: Sequence[int | Draw]) -> tuple[Any, Tensor]:
        """Return images (B, 3, H, W), float32 in [0, 1], and labels (B,).

        With a transform that makes several views, the images are a list of them.

        Args:
            batch: Numbers of the images. Where they come as `Draw`, augmentation and
                transform are drawn from the first one, else from the global
                generators.
        """
        first = batch[0]
        generator = first.generator() if isinstance(first, Draw) else None
        numbers = [each.image if isinstance(each, Draw) else each for each in batch]
        indices = self.indices[torch.as_tensor(numbers)]
        images = self.images.source(indices)
        if self.augmentation is not None:
            images = self.augmentation(images, generator)
        labels = self.images.labels[indices]
        if self.transform is None:
            return to_pixels(images), labels
        if isinstance(first, Draw) and hasattr(self.transform, "set_epoch"):
            self.transform.set_epoch(first.epoch)
        return _views(self.transform, images, generator), labels


def identity(batch: T) -> T:
    """Return a batch as it is: the `collate_fn` for `ImageDataset`."""
    return batch


def _views(
    transform: Transform, images: Tensor, generator: Generator | None
) -> Tensor | list[Tensor]:
    """Return the views of a batch, each of shape (B, 3, H, W)."""
    batched = _batched(transform)
    if batched is None:
        return _image_by_image(transform, images, generator)
    views: list[Tensor] = batched(images, generator)
    return views


def _batched(transform: Transform) -> BatchedTransform | None:
    """Return what makes several views of whole batches; None if that is not known.

    Anew for each batch: what a transform does may depend on the epoch.
    """
    if not isinstance(transform, MultiViewTransform):
        return None
    try:
        return BatchedTransform(transform)
    except ValueError:  # an operation that is not known for batches
        return None


def _image_by_image(
    transform: Transform, images: Tensor, generator: Generator | None
) -> Tensor | list[Tensor]:
    if generator is not None:
        seed = int(torch.randint(2**31, (), generator=generator))
        # Transforms draw from the global generators, each from one of its own choice.
        with rng.forked():
            rng.reseed(seed)
            return _image_by_image(transform, images, None)
    views = [transform(image_functions.to_pil_image(image)) for image in images]
    if isinstance(views[0], Tensor):
        return torch.stack(views)
    return [torch.stack(each) for each in zip(*views, strict=True)]


def to_pixels(images: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]; uint8 are divided by 255."""
    return images / 255 if images.dtype == torch.uint8 else images
