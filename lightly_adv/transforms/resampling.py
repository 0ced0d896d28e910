"""Resizing and blurring as products with one matrix for rows and one for columns.

Each image has matrices of its own, so that images with different parameters take the
same few kernels.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

CUBIC = -0.5
"""The constant of the cubic kernel that Pillow and torch use with antialiasing."""


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return `rows @ images @ columns.mT`, image by image.

    Args:
        images: Floating-point images of shape (B, C, H, W).
        rows: What each new row is made of, (B, H', H).
        columns: What each new column is made of, (B, W', W).

    Returns:
        Images of shape (B, C, H', W').

    Examples:
        >>> swap = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> resample(image, swap, torch.eye(2)[None])
        tensor([[[[3., 4.],
                  [1., 2.]]]])
    """
    return _along_columns(_along_columns(images.mT, rows).mT, columns)


def _along_columns(images: Tensor, weights: Tensor) -> Tensor:
    found = images.flatten(1, 2) @ weights.mT
    return found.view(*images.shape[:3], -1)


def resize_weights(
    start: Tensor, length: Tensor, *, old: int, new: int, interpolation: Interpolation
) -> Tensor:
    """Return the matrices that resize a part of a side, with antialiasing.

    Args:
        start: Where the part begins, in whole pixels, (B,).
        length: How long it is, (B,).
        old: Length of the side.
        new: Length that the part is resized to.
        interpolation: The kernel.

    Returns:
        Weights of shape (B, new, old); each row sums to 1.

    Examples:
        >>> start, length = torch.tensor([1]), torch.tensor([2])
        >>> resize_weights(start, length, old=4, new=1, interpolation="bilinear")
        tensor([[[0.0000, 0.5000, 0.5000, 0.0000]]])
    """
    device = start.device
    length = length[:, None, None].float()
    scale = length / new
    centre = scale * (torch.arange(new, device=device)[:, None] + 0.5)
    place = torch.arange(old, device=device) - start[:, None, None] + 0.5
    weights = KERNELS[interpolation]((place - centre) / scale.clamp(min=1))
    weights = weights * ((place > 0) & (place < length))
    return weights / weights.sum(dim=-1, keepdim=True)


def blur_weights(std: Tensor, *, size: int, reach: int) -> Tensor:
    """Return the matrices of a Gaussian blur that reflects at the edges.

    Args:
        std: Standard deviations in pixels, (B,).
        size: Length of the side, more than `reach`.
        reach: How many pixels the kernel goes to either side.

    Returns:
        Weights of shape (B, size, size); each row sums to 1.
    """
    place = torch.arange(size, device=std.device)
    last = size - 1

    def gaussian(distance: Tensor) -> Tensor:
        weights = torch.exp(-0.5 * (distance / std[:, None, None]) ** 2)
        return weights * (distance.abs() <= reach)

    row = place[:, None]
    weights = gaussian(row - place)
    # What lies beyond an edge is the image reflected in its outermost pixel.
    weights = weights + gaussian(row + place) * (place > 0)
    weights = weights + gaussian(row + place - 2 * last) * (place < last)
    return weights / weights.sum(dim=-1, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = CUBIC * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, far * (x < 2))


KERNELS = {"bilinear": _triangle, "bicubic": _cubic}
"""Weights at a distance in pixels of the coarser side, by name."""
