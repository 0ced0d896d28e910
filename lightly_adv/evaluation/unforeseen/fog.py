"""Fog: a fractal cloud is laid over the image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lightly_adv.evaluation.unforeseen.scene import Scene
from lightly_adv.evaluation.unforeseen.spaces import Ball

DECAY = 2.0
"""By how much the cloud gets smoother from one octave to the next."""


def fog(images: Tensor, eps: float, generator: Generator, /) -> Scene:
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
    octaves = (max(height, width, 2) - 1).bit_length()
    space = Ball("Linf", 0.5)
    start = space.start(images.new_empty(batch, 4**octaves - 1), generator)

    def render(z: Tensor) -> Tensor:
        cloud = diamond_square(2 * z, octaves=octaves)[:, None, :height, :width]
        return ((images + eps * cloud) / (1 + eps)).clamp(0, 1)

    return Scene(start, space, render)


def diamond_square(noise: Tensor, *, octaves: int, decay: float = DECAY) -> Tensor:
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
