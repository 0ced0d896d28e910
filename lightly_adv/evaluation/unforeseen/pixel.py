"""L-inf, L2 and L1: a perturbation is added to the pixels."""

from __future__ import annotations

from torch import Generator, Tensor

from lightly_adv.evaluation.unforeseen.scene import Scene
from lightly_adv.evaluation.unforeseen.spaces import Ball, FrankWolfe


def linf(images: Tensor, eps: float, generator: Generator, /) -> Scene:
    """Move every pixel by at most eps.

    Args:
        images: Images of shape (B, C, H, W), float32 in [0, 1].
        eps: Radius in pixels of [0, 1].
        generator: Source of the start.

    Examples:
        >>> import torch
        >>> scene = linf(torch.rand(2, 3, 8, 8), 0.1, torch.Generator())
        >>> bool(scene.start.abs().max() <= 0.1)
        True
    """
    return _added(images, Ball("Linf", eps, -images, 1 - images), generator)


def l2(images: Tensor, eps: float, generator: Generator, /) -> Scene:
    """Move pixels by at most eps in all, as a Euclidean distance; see `linf`."""
    return _added(images, Ball("L2", eps, -images, 1 - images), generator)


def l1(images: Tensor, eps: float, generator: Generator, /) -> Scene:
    """Move pixels by a sum of at most eps, with Frank-Wolfe steps; see `linf`."""
    return _added(images, FrankWolfe(eps, -images, 1 - images), generator)


def _added(images: Tensor, space: Ball | FrankWolfe, generator: Generator) -> Scene:
    def render(z: Tensor) -> Tensor:
        # Inside of the box already, but for the rounding of the sum.
        return (images + z).clamp(0, 1)

    return Scene(space.start(images, generator), space, render)
