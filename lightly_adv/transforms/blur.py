"""Gaussian blur with a width of its own for each image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from lightly_adv.transforms import resampling
from lightly_adv.transforms.operation import uniform

SMALLEST = 1e-2
"""Standard deviation in pixels that is taken for smaller ones; it blurs nothing."""


@dataclass(frozen=True)
class GaussianBlur:
    """Blur images; their edges are reflected.

    It equals torchvision's `gaussian_blur` of each image with a kernel of
    `2 * reach + 1` pixels. Lightly blurs with Pillow, which approximates a Gaussian by
    three box filters.

    Args:
        sigmas: Lowest and highest standard deviation, in pixels.
        reach: How many pixels the kernel goes to either side. Defaults to four of the
            highest standard deviations. It ends one pixel before the smaller side.

    Examples:
        >>> import torch
        >>> blur, images = GaussianBlur((0.1, 2.0)), torch.rand(2, 3, 16, 16)
        >>> blur.apply(images, blur.draw(images)).shape
        torch.Size([2, 3, 16, 16])
    """

    sigmas: tuple[float, float]
    reach: int | None = None

    def draw(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw a standard deviation for each image, (B,)."""
        low, high = self.sigmas
        return uniform(images, low=low, high=high, generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Return blurred images of shape (B, C, H, W)."""
        height, width = images.shape[-2:]
        reach = round(4 * self.sigmas[1]) if self.reach is None else self.reach
        reach = min(reach, height - 1, width - 1)
        std = drawn.clamp(min=SMALLEST)
        rows, columns = (
            resampling.blur_weights(std, size=size, reach=reach).to(images.dtype)
            for size in (height, width)
        )
        return resampling.resample(images, rows, columns)
