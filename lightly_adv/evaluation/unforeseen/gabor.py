"""Gabor: a pattern of waves is added to the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightly_adv.evaluation.unforeseen.attack import levels, unforeseen_attack
from lightly_adv.evaluation.unforeseen.parametrization import Ball, Parametrization

DENSITY = 1 / 14
"""Share of the places of the image that a kernel is put to."""

KERNEL_SIZE = 23
"""Largest side of a kernel; no more than a third of the image."""

DIRECTIONS = 10
"""Largest number of directions in a kernel."""


@unforeseen_attack(
    "gabor", eps=levels(4, 8, 16, 32, 64, 128), unit="pixels", largest=1.0
)
def gabor(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Add noise of at most eps: waves of one kind, at sparse random places.

    The parameters say how much of the kernel is at each of the places. The kernel of a
    image is drawn: its width, its wave length, and 1 to 10 directions. Kang et al.
    flatten the spectrum of the noise and only brighten; here it is brought to [-1, 1].

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016
    - [1] Procedural Noise Adversarial Examples for Black-Box Attacks on Deep
      Convolutional Networks, 2018, https://arxiv.org/abs/1810.00470

    Args:
        images: Images of shape (B, C, H, W), float32 in [0, 1].
        eps: Largest change of a pixel, in [0, 1].
        generator: Source of places, kernels and the start.
    """
    batch, _, height, width = images.shape
    largest = min(KERNEL_SIZE, min(height, width) // 3)
    kernels = draw_kernels(
        batch, size=max(largest - 1 + largest % 2, 3), generator=generator
    )
    kernels = kernels.to(images)
    drawn = torch.rand(batch, 1, height, width, generator=generator)
    places = (drawn < DENSITY).to(images)
    space = Ball("Linf", 1.0)
    start = space.start(places, generator) * places

    def render(z: Tensor) -> Tensor:
        return (images + eps * waves(z * places, kernels)).clamp(0, 1)

    return Parametrization(start, space, render)


def waves(weights: Tensor, kernels: Tensor) -> Tensor:
    """Sum up kernels at their places, and bring the largest value to 1.

    Args:
        weights: How much of its kernel every place has, of shape (B, 1, H, W).
        kernels: One kernel per image, of shape (B, S, S), with S odd.

    Returns:
        Noise of shape (B, 1, H, W) in [-1, 1].
    """
    batch, size = kernels.shape[:2]
    summed = F.conv2d(
        weights.transpose(0, 1), kernels[:, None], padding=size // 2, groups=batch
    ).transpose(0, 1)
    peak = summed.abs().amax(dim=(1, 2, 3), keepdim=True)
    return summed / peak.clamp(min=torch.finfo(summed.dtype).tiny)


def draw_kernels(count: int, *, size: int, generator: Generator) -> Tensor:
    """Draw Gabor kernels: waves under a Gaussian, in one or several directions.

    The Gaussian has a standard deviation of 0.1 to 0.4 kernels, the waves 1/8 to 1/4
    periods per pixel.

    Returns:
        Kernels of shape (count, size, size).
    """
    # One row each: width, frequency, angle, number of directions.
    drawn = torch.rand(4, count, 1, 1, 1, generator=generator)
    std, cycles = 0.1 + 0.3 * drawn[0], size * (1 + drawn[1]) / 8
    directions = 1 + (DIRECTIONS * drawn[3]).floor()
    number = torch.arange(DIRECTIONS).view(1, -1, 1, 1)
    angle = math.pi * (drawn[2] + number / directions)
    axis = torch.linspace(-0.5, 0.5, size)
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    along = across * angle.cos() + down * angle.sin()
    each = torch.cos(2 * math.pi * cycles * along) * (number < directions)
    envelope = torch.exp(-0.5 * (down**2 + across**2) / std.squeeze(1) ** 2)
    return each.sum(dim=1) * envelope
