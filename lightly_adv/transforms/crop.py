"""Random crops: of a part that is resized, and out of the padded image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightly_adv.transforms import resampling
from lightly_adv.transforms.operation import check_generator, uniform
from lightly_adv.transforms.resampling import Interpolation

TRIES = 10
"""How many boxes are drawn for an image, as in torchvision."""


class Boxes(NamedTuple):
    """The part of each image that is kept, in whole pixels; each of shape (B,)."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a part of random area and aspect ratio, and resize it with antialiasing.

    It equals torchvision's `resized_crop` of each image. What bicubic interpolation
    makes darker than 0 or brighter than 1 is clipped, as in images of 8 bits.

    Args:
        size: Height and width of what comes out.
        scale: Lowest and highest area, as a share of the image.
        ratio: Lowest and highest aspect ratio, width by height.
        interpolation: "bilinear" or "bicubic".

    Examples:
        >>> crop, images = RandomResizedCrop((8, 8)), torch.rand(2, 3, 16, 16)
        >>> crop.apply(images, crop.draw(images)).shape
        torch.Size([2, 3, 8, 8])
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"

    def draw(self, images: Tensor, generator: Generator | None = None) -> Boxes:
        """Draw a box for each image: the first of ten that fits, or the middle."""
        height, width = images.shape[-2:]
        low, high = self.scale
        narrow, wide = map(math.log, self.ratio)
        drawn = uniform(images, 4, TRIES, generator=generator)
        area = (low + (high - low) * drawn[:, 0]) * (height * width)
        ratio = (narrow + (wide - narrow) * drawn[:, 1]).exp()
        heights, widths = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
        fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
        tops = (drawn[:, 2] * (height - heights + 1)).floor()
        lefts = (drawn[:, 3] * (width - widths + 1)).floor()
        first, found = fits.int().argmax(dim=1, keepdim=True), fits.any(dim=1)
        tries = (tops, lefts, heights, widths)
        middle = _middle(height, width, self.ratio)
        boxes = (
            torch.where(found, tried.gather(1, first)[:, 0], other).long()
            for tried, other in zip(tries, middle, strict=True)
        )
        return Boxes(*boxes)

    def apply(self, images: Tensor, drawn: Boxes) -> Tensor:
        """Crop images of shape (B, C, H, W), and resize them to `size`."""
        height, width = images.shape[-2:]
        rows, columns = (
            resampling.resize_weights(
                start, length, old=old, new=new, interpolation=self.interpolation
            ).to(images.dtype)
            for start, length, old, new in (
                (drawn.top, drawn.height, height, self.size[0]),
                (drawn.left, drawn.width, width, self.size[1]),
            )
        )
        found = resampling.resample(images, rows, columns)
        return found.clamp_(0, 1) if self.interpolation == "bicubic" else found


def _middle(
    height: int, width: int, ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Return the largest part in the middle with an allowed aspect ratio."""
    rows, columns = height, width
    if width / height < ratio[0]:
        rows = round(width / ratio[0])
    elif width / height > ratio[1]:
        columns = round(height * ratio[1])
    return (height - rows) // 2, (width - columns) // 2, rows, columns


class Corners(NamedTuple):
    """Where each crop of the padded image begins; each of shape (B,)."""

    top: Tensor
    left: Tensor


@dataclass(frozen=True)
class RandomCrop:
    """Pad images with black, and crop them. Any dtype.

    Args:
        padding: Pixels on each side.
        size: Height and width of the crops. Defaults to those of the images.

    Raises:
        ValueError: When images are cropped, if they are smaller than the crops, or if
            the generator is on another device.

    Examples:
        >>> crop = RandomCrop(padding=1)
        >>> corners = Corners(torch.tensor([0]), torch.tensor([1]))
        >>> crop.apply(torch.tensor([[[[1, 2], [3, 4]]]]), corners)
        tensor([[[[0, 0],
                  [1, 2]]]])
    """

    padding: int
    size: tuple[int, int] | None = None

    def draw(self, images: Tensor, generator: Generator | None = None) -> Corners:
        """Draw where each crop begins."""
        height, width = self.size or images.shape[-2:]
        free = [
            side + 2 * self.padding - length
            for side, length in zip(images.shape[-2:], (height, width), strict=True)
        ]
        if min(free) < 0:
            raise ValueError(
                f"images of {tuple(images.shape[-2:])} pixels with padding "
                f"{self.padding} are smaller than the crops of {(height, width)}; "
                "expected larger ones, or another size or padding in the transform."
            )
        check_generator(generator, images)
        device, count = images.device, (len(images),)
        top, left = (
            torch.randint(0, end + 1, count, generator=generator, device=device)
            for end in free
        )
        return Corners(top, left)

    def apply(self, images: Tensor, drawn: Corners) -> Tensor:
        """Return crops of images (B, C, H, W), in their dtype."""
        count, channels = images.shape[:2]
        height, width = self.size or images.shape[-2:]
        rows = drawn.top[:, None] + torch.arange(height, device=images.device)
        columns = drawn.left[:, None] + torch.arange(width, device=images.device)
        padded = F.pad(images, [self.padding] * 4)
        index = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]
        index = index.flatten(1)[:, None].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(count, channels, height, width)
