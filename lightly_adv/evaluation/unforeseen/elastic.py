"""Elastic: a smoothed field of small displacements moves the pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightly_adv.evaluation.unforeseen.scene import Scene
from lightly_adv.evaluation.unforeseen.spaces import Ball

SMOOTHNESS = 3 / 224
"""Standard deviation of the smoothing, as a share of the side of the image."""


def elastic(images: Tensor, eps: float, generator: Generator, /) -> Scene:
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

    def render(z: Tensor) -> Tensor:
        return displace(images, smooth(z, std=std))

    return Scene(start, space, render)


def displace(images: Tensor, flow: Tensor) -> Tensor:
    """Take every pixel from where a flow points to, with bilinear interpolation.

    Args:
        images: Images of shape (B, C, H, W) in [0, 1].
        flow: Displacements in pixels, of shape (B, 2, H, W): to the right, and down.
    """
    height, width = images.shape[2:]
    rows, columns = (
        torch.linspace(-1, 1, size, device=flow.device, dtype=flow.dtype)
        for size in (height, width)
    )
    across = columns + flow[:, 0] * (2 / max(width - 1, 1))
    down = rows[:, None] + flow[:, 1] * (2 / max(height - 1, 1))
    grid = torch.stack([across, down], dim=-1)
    moved = F.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return moved.clamp(0, 1)


def smooth(planes: Tensor, *, std: float) -> Tensor:
    """Blur planes of shape (B, P, H, W) with a Gaussian of this standard deviation.

    The kernel is cut at four standard deviations. Edges are mirrored.
    """
    # A plane can be mirrored by less than its own size.
    reach = min(math.ceil(4 * std), *(size - 1 for size in planes.shape[2:]))
    offsets = torch.arange(-reach, reach + 1, device=planes.device, dtype=planes.dtype)
    weights = torch.exp(-0.5 * (offsets / std) ** 2)
    weights = weights / weights.sum()
    channels = planes.shape[1]
    padded = F.pad(planes, (reach,) * 4, mode="reflect")
    down = weights.view(1, 1, -1, 1).expand(channels, -1, -1, -1)
    across = weights.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
    return F.conv2d(F.conv2d(padded, down, groups=channels), across, groups=channels)
