"""L-inf, L2 and L1: a perturbation is added to the pixels."""

from __future__ import annotations

from torch import Generator, Tensor

from lightly_adv.evaluation.unforeseen.attack import levels, unforeseen_attack
from lightly_adv.evaluation.unforeseen.parametrization import (
    Ball,
    FrankWolfe,
    Parametrization,
)


@unforeseen_attack(
    "linf",
    eps=levels(1, 2, 4, 8, 16, 32),
    unit="pixels",
    ata=(91.0, 87.8, 81.6, 71.3, 46.5, 23.1),
    largest=1.0,
)
def linf(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Move every pixel by at most eps.

    Args:
        images: Images of shape (B, C, H, W), float32 in [0, 1].
        eps: Radius in pixels of [0, 1].
        generator: Source of the start.

    Examples:
        >>> import torch
        >>> images = linf(torch.rand(2, 3, 8, 8), 0.1, torch.Generator())
        >>> bool(images.start.abs().max() <= 0.1)
        True
    """
    return _added(images, Ball("Linf", eps, -images, 1 - images), generator)


@unforeseen_attack(
    "l2",
    eps=levels(40, 80, 160, 320, 640, 2560),
    unit="pixels",
    ata=(90.1, 86.4, 79.6, 67.3, 49.9, 17.3),
)
def l2(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Move pixels by at most eps in all, as a Euclidean distance; see `linf`."""
    return _added(images, Ball("L2", eps, -images, 1 - images), generator)


@unforeseen_attack(
    "l1",
    eps=levels(195, 390, 780, 1560, 6240, 24960),
    unit="pixels",
    ata=(92.2, 90.0, 83.2, 73.8, 47.4, 35.3),
)
def l1(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Move pixels by a sum of at most eps, with Frank-Wolfe steps; see `linf`."""
    return _added(images, FrankWolfe(eps, -images, 1 - images), generator)


def _added(
    images: Tensor, space: Ball | FrankWolfe, generator: Generator
) -> Parametrization:
    def render(z: Tensor) -> Tensor:
        # Inside of the box already, but for the rounding of the sum.
        return (images + z).clamp(0, 1)

    return Parametrization(space.start(images, generator), space, render)
