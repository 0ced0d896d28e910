"""Elastic: a smoothed field of small displacements moves the pixels."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.unforeseen.attack import unforeseen_attack
from lightly_adv.evaluation.unforeseen.parametrization import Ball, Parametrization

SMOOTHNESS = 3 / 224
"""Standard deviation of the smoothing, as a share of the side of the image."""


@unforeseen_attack(
    "elastic",
    eps=(0.125, 0.25, 0.5, 1.0, 2.0, 8.0),
    unit="pixels of displacement",
    ata=(87.4, 81.3, 72.1, 58.2, 45.4, 27.8),
)
def elastic(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Displace every pixel by at most eps in each direction, then smooth the field.

    What comes from outside of the image is black.

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        images: Images of shape (B, C, H, W), float32 in [0, 1].
        eps: Largest displacement, in pixels of the grid (1 is the neighbour).
        generator: Source of the start.
    """
    batch, _, height, width = images.shape
    space = Ball("Linf", eps)
    start = space.start(images.new_empty(batch, 2, height, width), generator)
    std = SMOOTHNESS * min(height, width)

    # A plane can be mirrored by less than its own size.
    reach = min(math.ceil(4 * std), height - 1, width - 1)
    columns, rows = torch.arange(width), torch.arange(height)[:, None]

    def render(z: Tensor) -> Tensor:
        flow = filters.gaussian_blur(z, std, reach=reach, edges="reflect")
        right = columns.to(z) + flow[:, 0]
        down = rows.to(z) + flow[:, 1]
        return filters.displaced(images, right, down).clamp(0, 1)

    return Parametrization(start, space, render)
