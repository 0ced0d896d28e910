"""Blur: values are mixed with those around them."""

from __future__ import annotations

from torch import Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.corruptions.corruption import corruption
from lightly_adv.evaluation.corruptions.draws import Draws


@corruption("defocus_blur", (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
def defocus(images: Tensor, draws: Draws, radius: float, softness: float) -> Tensor:
    """Replace every point by a disk with soft edges.

    Args:
        images: Images of shape (B, C, H, W).
        draws: Not used.
        radius: Radius of the disk.
        softness: Standard deviation of the blur of the disk, which ends at one pixel.
    """
    del draws
    scale = filters.scale(images)
    size = radius * scale
    points = range(-int(size), int(size) + 1)
    disk = [((y, x), 1.0) for y in points for x in points if x * x + y * y <= size**2]
    blurred = filters.shifted_mean(images, disk)
    return filters.gaussian_blur(blurred, softness * scale, reach=round(scale))


@corruption(
    "glass_blur", (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)
)
def glass(
    images: Tensor, draws: Draws, std: float, distance: float, rounds: int
) -> Tensor:
    """Blur, let every pixel take the place of one close by, and blur again.

    The program behind CIFAR-10-C walks through an image, and copies where it means to
    swap; for its distance of 1 that is the same as this, where all pixels move at once.

    Args:
        images: Images of shape (B, C, H, W).
        draws: Where the pixels come from.
        std: Standard deviation of both blurs.
        distance: How far a pixel comes at most, to each side.
        rounds: How often the pixels move.
    """
    scale = filters.scale(images)
    far = round(distance * scale)
    blurred = filters.gaussian_blur(images, std * scale)
    for _ in range(rounds):
        down, right = draws.integers(-far, far, 2, *images.shape[2:]).unbind(1)
        blurred = filters.moved(blurred, down, right)
    return filters.gaussian_blur(blurred, std * scale)


@corruption("motion_blur", (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
def motion(images: Tensor, draws: Draws, radius: float, std: float) -> Tensor:
    """Drag the image along a line, up to 45 degrees from the horizontal."""
    scale = filters.scale(images)
    angle = draws.uniform(-45, 45)
    return filters.motion_blur(images, angle, radius=radius * scale, std=std * scale)


@corruption("zoom_blur", 7, 12, 16, 21, 26)
def zoom(images: Tensor, draws: Draws, steps: int) -> Tensor:
    """Mix the image with enlarged ones, each 1 % larger than the one before."""
    del draws
    total = images.clone()
    for step in range(steps):
        total += filters.zoom(images, 1 + step / 100)
    return total / (steps + 1)


@corruption("gaussian_blur", 0.4, 0.6, 0.7, 0.8, 1)
def gaussian(images: Tensor, draws: Draws, std: float) -> Tensor:
    """Blur with a Gaussian."""
    del draws
    return filters.gaussian_blur(images, std * filters.scale(images))
