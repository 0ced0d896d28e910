"""Digital: what cameras and programs do to images."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.corruptions.corruption import corruption
from lightly_adv.evaluation.corruptions.draws import Draws


@corruption("contrast", 0.75, 0.5, 0.4, 0.3, 0.15)
def contrast(images: Tensor, draws: Draws, kept: float) -> Tensor:
    """Draw all values towards the mean of their channel."""
    del draws
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + kept * (images - mean)


@corruption("brightness", 0.05, 0.1, 0.15, 0.2, 0.3)
def brightness(images: Tensor, draws: Draws, more: float) -> Tensor:
    """Raise the value of each pixel, with its hue and its saturation as they are."""
    del draws
    value = images.amax(dim=1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, images * (raised / value), raised)


@corruption("saturate", (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))
def saturate(images: Tensor, draws: Draws, factor: float, more: float) -> Tensor:
    """Change the saturation of each pixel, with its hue and its value as they are.

    A gray pixel has no hue; it counts as red, as is the custom.

    Raises:
        ValueError: If the images have one channel.
    """
    del draws
    if images.shape[1] != 3:
        raise ValueError(
            "the images have 1 channel, and no saturation to change; leave "
            "'saturate' out, or give images with red, green and blue."
        )
    value = images.amax(dim=1, keepdim=True)
    range_ = value - images.amin(dim=1, keepdim=True)
    red = torch.tensor([0.0, 1.0, 1.0]).to(images).view(1, 3, 1, 1)
    away = torch.where(range_ > 0, (value - images) / range_, red)
    saturation = torch.where(value > 0, range_ / value, 0.0)
    return value * (1 - away * (factor * saturation + more).clamp(0, 1))


@corruption("jpeg_compression", 80, 65, 58, 50, 40)
def jpeg(images: Tensor, draws: Draws, quality: int) -> Tensor:
    """Compress as JPEG, and decompress; one image after the other."""
    del draws
    values = (255 * images).round().to(torch.uint8).cpu()
    found = [_compressed(image, quality) for image in values]
    return torch.stack(found).to(images) / 255


@corruption("pixelate", 0.95, 0.9, 0.85, 0.75, 0.65)
def pixelate(images: Tensor, draws: Draws, share: float) -> Tensor:
    """Shrink each side to a share of its length, and enlarge it again in blocks.

    Blocks are 1 / share pixels long. In images larger than 32 x 32, what they are
    longer than one pixel grows with the image, which at 224 comes close to what was
    published for ImageNet-C.
    """
    del draws
    share = 1 / (1 + (1 / share - 1) * filters.scale(images))
    return _blocks(_blocks(images, share, dim=2), share, dim=3)


@corruption(
    "elastic_transform",
    (0, 0, 0.08),
    (0.05, 0.2, 0.07),
    (0.08, 0.06, 0.06),
    (0.1, 0.04, 0.05),
    (0.1, 0.03, 0.03),
)
def elastic(
    images: Tensor, draws: Draws, strength: float, smoothness: float, jitter: float
) -> Tensor:
    """Shear the image, and displace its pixels along smooth waves.

    All lengths are shares of the shorter side. What comes from outside is mirrored.

    Args:
        images: Images of shape (B, C, H, W).
        draws: How to shear, and the waves.
        strength: Largest displacement, before it is smoothed.
        smoothness: Standard deviation of the smoothing.
        jitter: How far three points of the image go at most, in each direction.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    shear = _shear(draws.uniform(-1, 1, 3, 2), jitter * side, height, width)
    # Smoothing over more pixels leaves less of the waves; that is made up for.
    waves = (
        strength * side * (side / filters.SIDE) * draws.uniform(-1, 1, 2, height, width)
    )
    right, down = filters.gaussian_blur(waves, smoothness * side).double().unbind(1)
    x = torch.arange(width) + right
    y = torch.arange(height).view(-1, 1) + down
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    x, y = torch.einsum("bhwk,bkc->bchw", points, shear).unbind(1)
    return filters.displaced(images, x, y, edges="reflection")


def _compressed(image: Tensor, quality: int) -> Tensor:
    """Send an image (C, H, W) of bytes through JPEG."""
    channels, height, width = image.shape
    plain = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(plain[:, :, 0] if channels == 1 else plain).save(
        file, "JPEG", quality=quality
    )
    found = np.array(Image.open(file)).reshape(height, width, channels)
    return torch.from_numpy(found).permute(2, 0, 1)


def _shear(drawn: Tensor, jitter: float, height: int, width: int) -> Tensor:
    """Return matrices (B, 3, 2) that bring (x, y, 1) of the result to (x, y).

    Args:
        drawn: Numbers in [-1, 1] of shape (B, 3, 2).
        jitter: What they are multiplied with.
        height: Height of the images.
        width: Width of the images.
    """
    x, y, third = width // 2, height // 2, max(min(height, width) // 3, 1)
    corners = [[x + third, y + third], [x + third, y - third], [x - third, y - third]]
    start = torch.tensor(corners, dtype=torch.float64)
    end = start + jitter * drawn.double()
    end = torch.cat([end, torch.ones(len(end), 3, 1, dtype=torch.float64)], dim=2)
    solved: Tensor = torch.linalg.solve(end, start.expand(len(end), 3, 2))
    return solved


def _blocks(images: Tensor, share: float, *, dim: int) -> Tensor:
    """Shrink one side by means over pixels, as PIL does with BOX, and enlarge it."""
    length = images.shape[dim]
    short = max(int(length * share + 1e-6), 1)  # 1e-6 is for rounding
    step = length / short
    blocks = []
    for block in range(short):
        # A pixel belongs to where its centre lies.
        first = math.floor(block * step + 0.5)
        last = math.floor((block + 1) * step + 0.5)
        part = images.narrow(dim, first, last - first)
        blocks.append(part.mean(dim=dim, keepdim=True))
    return torch.cat(blocks, dim=dim).index_select(
        dim, _block_of(length, short, images)
    )


def _block_of(length: int, short: int, like: Tensor) -> Tensor:
    """Return for each pixel of the long side which block of the short one it shows."""
    blocks = [int((pixel + 0.5) * short / length) for pixel in range(length)]
    return torch.tensor(blocks, device=like.device)
