"""Colours: jitter, grey, solarise, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from lightly_adv.transforms.operation import Deterministic, per_image, uniform

Range = tuple[float, float]

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The parts of a colour jitter, as torchvision numbers them."""


class Jitter(NamedTuple):
    """Factors of each image, (B,), and the order of the four parts, (B, 4)."""

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    order: Tensor


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, in an order of each image.

    It equals torchvision's functions on each image, one after the other.

    Args:
        brightness: Lowest and highest factor.
        contrast: The same.
        saturation: The same.
        hue: Lowest and highest shift, as a share of the colour circle.

    Examples:
        >>> jitter = ColorJitter(brightness=(0.2, 1.8), hue=(-0.2, 0.2))
        >>> images = torch.rand(2, 3, 8, 8)
        >>> jitter.apply(images, jitter.draw(images)).shape
        torch.Size([2, 3, 8, 8])
    """

    brightness: Range = (1.0, 1.0)
    contrast: Range = (1.0, 1.0)
    saturation: Range = (1.0, 1.0)
    hue: Range = (0.0, 0.0)

    def draw(self, images: Tensor, generator: Generator | None = None) -> Jitter:
        """Draw factors and an order for each image."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        brightness, contrast, saturation, hue = (
            uniform(images, low=low, high=high, generator=generator)
            for low, high in ranges
        )
        order = uniform(images, len(ranges), generator=generator).argsort(dim=1)
        return Jitter(brightness, contrast, saturation, hue, order)

    def apply(self, images: Tensor, drawn: Jitter) -> Tensor:
        """Return images of shape (B, C, H, W) with other colours.

        Hue costs most, so it is shifted once, between what comes before it in an image
        and what comes after.
        """
        factors = torch.stack(drawn[:HUE], dim=1)
        slots = torch.arange(HUE, device=images.device)
        hue_slot = (drawn.order == HUE).int().argmax(dim=1, keepdim=True)
        before = slots < hue_slot
        parts = drawn.order.gather(1, slots + (~before).long())
        factors = factors.gather(1, parts)
        for slot in range(HUE):
            images = _blend(images, parts[:, slot], factors[:, slot], before[:, slot])
        if self.hue != (0.0, 0.0):
            images = shift_hue(images, drawn.hue)
        for slot in range(HUE):
            images = _blend(images, parts[:, slot], factors[:, slot], ~before[:, slot])
        return images


def _blend(images: Tensor, part: Tensor, factor: Tensor, chosen: Tensor) -> Tensor:
    """Blend the chosen images with black, with their mean grey or with their grey."""
    part, grey = per_image(part), luma(images)
    other = torch.where(part == CONTRAST, grey.mean(dim=(1, 2, 3), keepdim=True), grey)
    other = other * (part != BRIGHTNESS)
    blended = torch.lerp(other.expand_as(images), images, per_image(factor))
    return torch.where(per_image(chosen), blended.clamp_(0, 1), images)


def luma(images: Tensor) -> Tensor:
    """Return the grey of RGB images, (B, 1, H, W), with the weights of torchvision."""
    red, green, blue = images.chunk(3, dim=1)
    grey: Tensor = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return grey


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of RGB images in [0, 1] (B, 3, H, W) by shares of a circle, (B,)."""
    red, green, blue = images.chunk(3, dim=1)
    low, value = images.aminmax(dim=1, keepdim=True)
    chroma = value - low
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(
            value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4
        ),
    )
    sixth = sixth + 6 * per_image(shift)
    # How far red, green and blue are from where they vanish, in sixths of a circle.
    offsets = [(sixth + offset).remainder_(6) for offset in (5, 3, 1)]
    away = torch.cat(offsets, dim=1)
    return value - chroma * torch.minimum(away, 4 - away).clamp_(0, 1)


@dataclass(frozen=True)
class Grayscale(Deterministic):
    """Turn RGB images grey, and keep three channels."""

    def apply(self, images: Tensor, drawn: None = None) -> Tensor:
        """Return grey images."""
        return luma(images).expand_as(images)


@dataclass(frozen=True)
class Solarize(Deterministic):
    """Invert pixels that are not darker than a threshold.

    Args:
        threshold: In [0, 1].
    """

    threshold: float = 128 / 255

    def apply(self, images: Tensor, drawn: None = None) -> Tensor:
        """Return solarised images."""
        return torch.where(images >= self.threshold, 1 - images, images)


@dataclass(frozen=True)
class Normalize(Deterministic):
    """Subtract a mean from each channel, and divide by a standard deviation."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor, drawn: None = None) -> Tensor:
        """Return normalised images of shape (B, C, H, W)."""
        # Numbers of Python, because a tensor of them would have to be copied over.
        channels = zip(
            images.chunk(len(self.mean), dim=1), self.mean, self.std, strict=True
        )
        return torch.cat([(x - mean).div_(std) for x, mean, std in channels], dim=1)
