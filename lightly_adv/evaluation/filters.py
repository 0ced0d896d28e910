"""What corruptions and unforeseen attacks do to images: blur, zoom, drag, clouds.

Blurs are sums of shifted images, weighted, and not a convolution of torch: that
rounds in another way when the batch has another size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of an image."""

SIDE = 32
"""Side of the images that the published constants are for."""

NEGLIGIBLE = 1e-5
"""Weights in a blur that are left out, as a share of the largest."""


def scale(images: Tensor) -> float:
    """Return what lengths in pixels are multiplied with, for images (B, C, H, W).

    It is 1 for images of 32 x 32 and for smaller ones, where a length of a fraction
    of a pixel would leave nothing to see.

    Examples:
        >>> scale(torch.zeros(1, 3, 224, 300)), scale(torch.zeros(1, 3, 8, 8))
        (7.0, 1.0)
    """
    return max(1.0, min(images.shape[2:]) / SIDE)


def luma(images: Tensor) -> Tensor:
    """Return the brightness of images, of shape (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    parts = (w * images[:, k : k + 1] for k, w in enumerate(LUMA))
    return sum(parts, torch.zeros_like(images[:, :1]))


def tint(color: tuple[float, float, float], images: Tensor) -> Tensor:
    """Return a colour, shaped for images; for gray ones its brightness."""
    shaped = torch.tensor(color).to(images).view(1, 3, 1, 1)
    return shaped if images.shape[1] == 3 else luma(shaped)


def paled(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) in the light of snow."""
    return images.maximum(1.5 * luma(images) + 0.5)


def gaussian_blur(
    images: Tensor, std: float, *, reach: int | None = None, edges: str = "replicate"
) -> Tensor:
    """Blur images of shape (B, C, H, W).

    Args:
        images: The images.
        std: Standard deviation, in pixels.
        reach: Where the kernel ends. Defaults to four standard deviations.
        edges: What is outside: "replicate" or "reflect", as for `pad` of torch.
    """
    reach = int(4 * std + 0.5) if reach is None else reach
    if not reach:
        return images
    weights = [math.exp(-0.5 * (k / std) ** 2) for k in range(-reach, reach + 1)]
    across = [((0, k - reach), weight) for k, weight in enumerate(weights)]
    down = [((k - reach, 0), weight) for k, weight in enumerate(weights)]
    blurred = shifted_mean(images, across, edges=edges)
    return shifted_mean(blurred, down, edges=edges)


def shifted_mean(
    images: Tensor,
    taps: Sequence[tuple[tuple[int, int], float]],
    *,
    edges: str = "replicate",
) -> Tensor:
    """Return the weighted mean of shifted images.

    Args:
        images: Images of shape (B, C, H, W).
        taps: Where to look from each pixel, down and to the right, and the weight of
            what is there.
        edges: See `gaussian_blur`.
    """
    height, width = images.shape[2:]
    total = sum(weight for _, weight in taps)
    rows = max(abs(down) for (down, _), _ in taps)
    columns = max(abs(right) for (_, right), _ in taps)
    padded = F.pad(images, (columns, columns, rows, rows), mode=edges)
    mean = torch.zeros_like(images)
    for (down, right), weight in taps:
        top, left = rows + down, columns + right
        part = padded[:, :, top : top + height, left : left + width]
        mean.add_(part, alpha=weight / total)
    return mean


def moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Take every pixel from elsewhere in its image, or from the edge.

    Args:
        images: Images of shape (B, C, H, W).
        down: How far below to look, whole numbers that broadcast to (B, H, W).
        right: How far to the right.
    """
    batch, channels, height, width = images.shape
    rows = torch.arange(height).view(-1, 1) + down
    columns = torch.arange(width) + right
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    flat = index.expand(batch, height, width).flatten(1)[:, None].to(images.device)
    found = images.flatten(2).gather(2, flat.expand(-1, channels, -1))
    return found.view_as(images)


def motion_blur(images: Tensor, angle: Tensor, *, radius: float, std: float) -> Tensor:
    """Drag images along a line, as the motion blur of ImageMagick does.

    A pixel becomes a weighted mean of those that lie from it in the direction of
    `angle`, with the weights of one half of a Gaussian.

    Args:
        images: Images of shape (B, C, H, W).
        angle: In degrees, clockwise from the right, of shape (B,).
        radius: Length of the line is 2 * radius, in pixels.
        std: Standard deviation of the Gaussian, in pixels.
    """
    weights = [
        math.exp(-0.5 * (k / std) ** 2) for k in range(2 * math.ceil(radius) + 1)
    ]
    weights = [weight for weight in weights if weight > NEGLIGIBLE]
    along = torch.deg2rad(angle.double()).view(-1, 1, 1)
    blurred = torch.zeros_like(images)
    for k, weight in enumerate(weights):
        down = torch.ceil(k * along.sin() - 0.5).long()
        right = torch.ceil(k * along.cos() - 0.5).long()
        blurred.add_(moved(images, down, right), alpha=weight / sum(weights))
    return blurred


def zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of images (B, C, H, W), which keep their size.

    Args:
        images: The images.
        factor: How much larger, from 1.
    """
    height, width = images.shape[2:]
    part = _middle(images, math.ceil(height / factor), math.ceil(width / factor))
    size = [round(side * factor) for side in part.shape[2:]]
    large = F.interpolate(part, size=size, mode="bilinear", align_corners=True)
    return _middle(large, height, width)


def _middle(images: Tensor, height: int, width: int) -> Tensor:
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


def displaced(
    images: Tensor, right: Tensor, down: Tensor, *, edges: str = "zeros"
) -> Tensor:
    """Take every pixel from elsewhere, with bilinear interpolation.

    Args:
        images: Images of shape (B, C, H, W).
        right: Column from which each pixel comes, of shape (B, H, W), in pixels.
        down: Row from which it comes.
        edges: What is outside: "zeros" or "reflection", as for `grid_sample` of torch.
    """
    height, width = images.shape[2:]
    ends = max(width - 1, 1), max(height - 1, 1)
    grid = torch.stack([2 * right / ends[0] - 1, 2 * down / ends[1] - 1], dim=-1)
    return F.grid_sample(
        images, grid.to(images), padding_mode=edges, align_corners=True
    )


def octaves_of(height: int, width: int) -> int:
    """Return how often clouds have to double to cover an image."""
    return (max(height, width, 2) - 1).bit_length()


def diamond_square(noise: Tensor, *, octaves: int, decay: float = 2.0) -> Tensor:
    """Grow clouds from coarse to fine, on a torus.

    In each octave the points in the middle of four others, first of squares, then of
    diamonds, get the mean of these and some noise, `decay` times less than in the
    octave before.

    Args:
        noise: Numbers in [-1, 1] of shape (B, 4**octaves - 1).
        octaves: How often the size doubles, from 1.
        decay: How quickly the noise fades.

    Returns:
        Clouds of shape (B, 2**octaves, 2**octaves) that span [0, 1].

    Examples:
        >>> import torch
        >>> diamond_square(torch.rand(2, 15), octaves=2).shape
        torch.Size([2, 4, 4])
    """
    grid = noise.new_zeros(len(noise), 1, 1)
    rest, height = noise, 1.0
    for octave in range(octaves):
        size = 2**octave
        fresh, rest = rest[:, : 3 * size**2], rest[:, 3 * size**2 :]
        grid = _finer(grid, height * fresh.view(-1, 3, size, size))
        height /= decay
    low, high = grid.amin(dim=(1, 2), keepdim=True), grid.amax(dim=(1, 2), keepdim=True)
    return (grid - low) / (high - low).clamp(min=torch.finfo(grid.dtype).tiny)


def _finer(grid: Tensor, noise: Tensor) -> Tensor:
    """Double the size of clouds (B, S, S), with noise (B, 3, S, S)."""
    below, right = grid.roll(-1, 1), grid.roll(-1, 2)
    middle = (grid + below + right + below.roll(-1, 2)) / 4 + noise[:, 0]
    on_rows = (grid + right + middle + middle.roll(1, 1)) / 4 + noise[:, 1]
    on_columns = (grid + below + middle + middle.roll(1, 2)) / 4 + noise[:, 2]
    rows = torch.stack([grid, on_rows], dim=-1).flatten(2)
    between = torch.stack([on_columns, middle], dim=-1).flatten(2)
    return torch.stack([rows, between], dim=2).flatten(1, 2)
