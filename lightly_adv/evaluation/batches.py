"""What evaluations share: where they run, and the images that they run on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.evaluation import verdicts
from lightly_adv.functional import pixels
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats


class OnPixels(nn.Module):
    """A classifier that takes pixels in [0, 1], and normalises them first.

    Args:
        model: Maps normalised images to logits.
        normalize: Mean and std that it expects; None where it takes pixels.
    """

    def __init__(self, model: nn.Module, normalize: NormalizeStats | None) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize

    def forward(self, images: Tensor) -> Any:
        """Return what the model says to images of shape (B, C, H, W)."""
        if self.normalize is None:
            return self.model(images)
        return self.model(pixels.to_normalized(images, self.normalize))


def place(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Move a model to a device, if one is given; return where it is.

    Raises:
        TypeError: If it is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}; expected a torch.nn.Module that maps "
            "images to logits."
        )
    if device is not None:
        model.to(device)
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next(tensors, torch.empty(0, device=device)).device


def first(
    loader: Iterable[Any],
    limit: int | None,
    unpack: Callable[[Any], tuple[Tensor, Tensor]] = verdicts.unpack,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of the first images of a loader.

    Args:
        loader: Batches.
        limit: Stop after that many images. Defaults to all of them.
        unpack: Takes images and labels from a batch.

    Raises:
        TypeError: If a batch is something else than `unpack` takes.
        ValueError: If `limit` is less than 1, or if there is no image.
    """
    if limit is not None and limit < 1:
        raise ValueError(
            f"max_samples={limit} is too small; expected at least 1, or None for all "
            "images."
        )
    count = 0
    for batch in loader:
        left = None if limit is None else limit - count
        images, labels = (each[:left] for each in unpack(batch))
        if len(images):
            yield images, labels
        count += len(images)
        if count == limit:
            return
    if not count:
        raise ValueError(
            "the loader gave no images; expected at least one batch. Is the data set "
            "empty, smaller than a batch with drop_last=True, or an iterator that is "
            "used up?"
        )


def without_labels(batch: Any) -> tuple[Tensor, Tensor]:
    """Take the images from a batch, with labels that mean nothing.

    Args:
        batch: (images, ...), or images of shape (B, C, H, W) alone.

    Raises:
        TypeError: If the batch is anything else.
    """
    images = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise TypeError(
            f"the images of a batch are a {type(images).__name__}; expected one "
            "tensor of shape (B, C, H, W), first in the batch."
        )
    return images, torch.zeros(len(images), dtype=torch.long)


def load(
    loader: Iterable[Any],
    *,
    device: torch.device,
    limit: int | None = None,
    normalize: NormalizeStats | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    unpack: Callable[[Any], tuple[Tensor, Tensor]] = verdicts.unpack,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixels (B, C, H, W), float32 inside of the bounds, and labels (B,).

    Args:
        loader: Batches (images, labels) or (images, labels, filenames).
        device: Where to put them.
        limit: Stop after that many images.
        normalize: Mean and std that the transform of the loader has normalised with.
        bounds: Smallest and largest valid pixel.
        unpack: Takes images and labels from a batch.

    Raises:
        TypeError: If a batch is something else, or if images are not floating.
        ValueError: If images leave the bounds, if `limit` is less than 1, or if there
            is no image.
    """
    everything = ThreatModel(eps=0.0, normalize=normalize, bounds=bounds)
    for images, labels in first(loader, limit, unpack):
        images, labels = images.to(device), labels.to(device)
        everything.box(images)  # refuses what is not images
        # Copies: autograd does not take tensors that were made in inference mode.
        shown = pixels.to_pixels(images.float().clone(), normalize).clamp(*bounds)
        yield shown, labels.long().clone()


def count(loader: Iterable[Any], limit: int | None) -> int | None:
    """Return how many images will come, where the loader tells."""
    sampler = getattr(loader, "sampler", None)
    known = len(sampler) if isinstance(sampler, Sized) else None
    return min((n for n in (known, limit) if n is not None), default=None)


def logits(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return what a classifier says to images, of shape (B, classes), checked."""
    return verdicts.checked_logits(model(images), labels)
