"""Fog: a fractal cloud is laid over the image."""

from __future__ import annotations

from torch import Generator, Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.unforeseen.attack import unforeseen_attack
from lightly_adv.evaluation.unforeseen.parametrization import Ball, Parametrization


@unforeseen_attack(
    "fog", eps=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0), unit="weight of the cloud"
)
def fog(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Mix the image with a cloud: (image + eps * cloud) / (1 + eps).

    The parameters are the random numbers that the cloud is grown from. Kang et al.
    divide by the brightest pixel + eps; here eps = 0 changes nothing.

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        images: Images of shape (B, C, H, W), float32 in [0, 1].
        eps: Weight of the cloud; the contrast of the image falls to 1 / (1 + eps).
        generator: Source of the start.
    """
    batch, _, height, width = images.shape
    octaves = filters.octaves_of(height, width)
    space = Ball("Linf", 0.5)
    start = space.start(images.new_empty(batch, 4**octaves - 1), generator)

    def render(z: Tensor) -> Tensor:
        cloud = filters.diamond_square(2 * z, octaves=octaves)
        cloud = cloud[:, None, :height, :width]
        return ((images + eps * cloud) / (1 + eps)).clamp(0, 1)

    return Parametrization(start, space, render)
