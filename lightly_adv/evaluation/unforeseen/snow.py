"""Snow: streaks of falling flakes are laid over the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.unforeseen.attack import unforeseen_attack
from lightly_adv.evaluation.unforeseen.parametrization import (
    Parametrization,
    check_colours,
)

BUDGET = 0.2
"""Largest mean intensity of the flakes in a layer."""

PITCH = 4
"""Distance of the flakes of one layer, in pixels."""

LAYERS = ((0, 0), (1, 2), (2, 1), (3, 3), (0, 2), (2, 3), (3, 1))
"""Row and column of the first flake of every layer."""

KERNEL_SIZE = 13
"""Largest extent of a streak, in pixels; no more than a fifth of the image."""

FADING = 0.25
"""How much the colours pale at eps = 1 and above."""


@dataclass(frozen=True)
class Snowfall:
    """Intensities in [0, 1], of shape (B, layers, rows, columns), within the budget."""

    def ascend(self, z: Tensor, grad: Tensor, *, step: int, steps: int) -> Tensor:
        """Take a step along the sign of the gradient; thin out what is too much.

        A flake that reaches zero stays there, as the fourth power has no gradient at
        zero; no flake starts there. That is wanted: flakes that do not help leave the
        budget to those that do. With a floor above zero the attack is weaker.
        """
        del step
        # Half of the width of the box takes the place of eps.
        return self.thin((z + 0.5 / math.sqrt(steps) * grad.sign()).clamp(0, 1))

    def thin(self, z: Tensor) -> Tensor:
        """Scale layers with too much snow down to the budget."""
        mean = z.mean(dim=(2, 3), keepdim=True)
        return z * (BUDGET / mean.clamp(min=BUDGET))


@unforeseen_attack(
    "snow", eps=(0.0625, 0.125, 0.25, 0.5, 1.0, 2.0), unit="brightness of the snow"
)
def snow(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Pale the colours, and add streaks of snow.

    The parameters are the intensities of the flakes, in seven layers. Each layer has
    one kind of streak, drawn for every image. Kang et al. pale the colours the same
    for all eps, and bound the snow in parts of the image; here eps = 0 changes
    nothing, and the bound is that of a layer.

    - [0] Testing Robustness Against Unforeseen Adversaries, 2019,
      https://arxiv.org/abs/1908.08016

    Args:
        images: Images of shape (B, 3, H, W), float32 in [0, 1].
        eps: Brightness of the snow.
        generator: Source of streaks and the start.

    Raises:
        ValueError: If the images do not have three channels.
    """
    check_colours(images, "snow")
    batch, _, height, width = images.shape
    largest = min(KERNEL_SIZE, min(height, width) // 5)
    size = max(largest - 1 + largest % 2, 3)
    streaks = draw_streaks(batch, size=size, generator=generator).to(images)
    rows, columns = math.ceil(height / PITCH), math.ceil(width / PITCH)
    drawn = torch.rand(batch, len(LAYERS), rows, columns, generator=generator)
    space = Snowfall()
    start = space.thin(torch.exp(-drawn / BUDGET)).to(images)
    paled = torch.lerp(images, filters.paled(images), min(eps, 1.0) * FADING)

    def render(z: Tensor) -> Tensor:
        return (paled + eps * snowfall(z, streaks, height, width)).clamp(0, 1)

    return Parametrization(start, space, render)


def snowfall(z: Tensor, streaks: Tensor, height: int, width: int) -> Tensor:
    """Return the snow of all layers, of shape (B, 1, height, width).

    Args:
        z: Intensities of shape (B, layers, rows, columns); few are bright, for they
            are taken to the fourth power.
        streaks: What a flake looks like, of shape (B, layers, S, S).
        height: Height of the image.
        width: Width of the image.
    """
    batch, layers, size = streaks.shape[:3]
    flakes = z.new_zeros(batch, layers, height, width)
    for layer, (top, left) in enumerate(LAYERS):
        spots = flakes[:, layer, top::PITCH, left::PITCH]
        rows, columns = spots.shape[1:]
        spots.copy_(z[:, layer, :rows, :columns] ** 4)
    fallen = F.conv2d(
        flakes.flatten(0, 1)[None],
        streaks.flatten(0, 1)[:, None],
        padding=size // 2,
        groups=batch * layers,
    )
    return fallen.view(batch, layers, height, width).sum(dim=1, keepdim=True)


def draw_streaks(count: int, *, size: int, generator: Generator) -> Tensor:
    """Draw what the flakes look like: smooth lines, all of an image leaning one way.

    Returns:
        Lines of length up to `size` and of a width of 1 to 2 pixels, with values in
        [0, 1], of shape (count, layers, size, size).
    """
    drawn = torch.rand(3, count, len(LAYERS), 1, 1, generator=generator)
    leaning = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    angle = math.radians(20) + math.radians(50) * drawn[0]
    angle = torch.where(leaning, angle, math.pi - angle)
    half_length, half_width = size / 2 * (0.5 + drawn[1] / 2), 0.5 + drawn[2] / 2
    axis = torch.arange(size) - size // 2
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    along = across * angle.cos() + down * angle.sin()
    beside = down * angle.cos() - across * angle.sin()
    ends = (half_length + 0.5 - along.abs()).clamp(0, 1)
    return ends * (half_width + 0.5 - beside.abs()).clamp(0, 1)
