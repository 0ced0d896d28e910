"""Turns by multiples of 90 degrees, a different one for each image of a batch."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lightly_adv.functional import sampling

NUM_ROTATIONS = 4
"""0, 90, 180 and 270 degrees."""


def balanced_labels(
    batch_size: int,
    num_classes: int = NUM_ROTATIONS,
    *,
    generator: Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw labels in random order, each class as often as the others.

    Where `num_classes` does not divide `batch_size`, the classes that occur once more
    are drawn too.

    Args:
        batch_size: Number of labels.
        num_classes: Labels run from 0 to `num_classes - 1`.
        generator: Where the randomness comes from; torch's global CPU generator if
            None, whatever the device, so that one seed gives the same labels on all.
        device: Where the labels are put; the CPU if None.

    Returns:
        Labels of shape (batch_size,), int64.

    Examples:
        >>> balanced_labels(8).bincount()
        tensor([2, 2, 2, 2])
    """
    source = sampling.source_device(generator)
    classes = torch.randperm(num_classes, generator=generator, device=source)
    order = torch.randperm(batch_size, generator=generator, device=source)
    return classes[order % num_classes].to(device or "cpu")


def rotate(images: Tensor, labels: Tensor) -> Tensor:
    """Turn each image counter-clockwise by 90 degrees times its label.

    Differentiable with respect to the images, and without a loop over them.

    Args:
        images: Square images of shape (B, ..., H, H).
        labels: Integers of shape (B,); 4 is a full turn.

    Returns:
        Tensor of the shape of `images`.

    Raises:
        ValueError: If the images are not square, or if there is not one label for
            each.

    Examples:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> rotate(image, torch.tensor([1]))
        tensor([[[[2, 4],
                  [1, 3]]]])
    """
    _check(images, labels)
    turns = labels.remainder(NUM_ROTATIONS).view(-1, *[1] * (images.dim() - 1))
    rotated = images
    for turn in range(1, NUM_ROTATIONS):
        turned = torch.rot90(images, turn, dims=(-2, -1))
        # In this order the result has the memory format of the images.
        rotated = torch.where(turns != turn, rotated, turned)
    return rotated


def _check(images: Tensor, labels: Tensor) -> None:
    if images.dim() < 3 or images.shape[-1] != images.shape[-2]:
        raise ValueError(
            f"images of shape {tuple(images.shape)} cannot be turned by 90 degrees; "
            "expected (B, C, H, W) with H equal to W. Crop or pad them to squares."
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and dtype {labels.dtype} do not "
            f"fit {len(images)} images; expected one integer for each."
        )
