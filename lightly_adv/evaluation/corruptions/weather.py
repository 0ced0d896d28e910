"""Weather: something is between the camera and the scene, or on the lens."""

from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.corruptions.corruption import corruption
from lightly_adv.evaluation.corruptions.draws import Draws

ICE = (0.85, 0.95, 1.0)
"""Colour of frost: white with some blue."""

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
"""Colours of what is spattered, as published."""

OPAQUE = 0.8
"""Blurred mud that is thinner than this is left out."""


@corruption(
    "snow",
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
def snow(
    images: Tensor,
    draws: Draws,
    mean: float,
    std: float,
    size: float,
    threshold: float,
    radius: float,
    blur: float,
    share: float,
) -> Tensor:
    """Pale the colours, and add flakes that fall.

    Args:
        images: Images of shape (B, C, H, W).
        draws: Flakes, and how they fall.
        mean: Mean of the normal noise that becomes flakes.
        std: Its standard deviation.
        size: How much the noise is enlarged.
        threshold: Noise below is no flake.
        radius: Of the motion blur of the flakes.
        blur: Its standard deviation.
        share: How much of the colours is kept.
    """
    scale = filters.scale(images)
    noise = mean + std * draws.normal(1, *images.shape[2:]).to(images)
    flakes = filters.zoom(noise, size * scale)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    angle = draws.uniform(-135, -45)
    fallen = filters.motion_blur(flakes, angle, radius=radius * scale, std=blur * scale)
    pale = filters.paled(images)
    return share * images + (1 - share) * pale + fallen + fallen.flip(2, 3)


@corruption("frost", (1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
def frost(images: Tensor, draws: Draws, kept: float, strength: float) -> Tensor:
    """Add ice crystals; a choice of our own, as the photographs may not be passed on.

    The images behind CIFAR-10-C were mixed with parts of five photographs of frozen
    panes. Here the ice is grown: see `_ice`.

    Args:
        images: Images of shape (B, C, H, W).
        draws: The ice.
        kept: Weight of the image.
        strength: Weight of the ice.
    """
    ice = _ice(draws, *images.shape[2:]).to(images)
    return kept * images + strength * ice * filters.tint(ICE, images)


@corruption("fog", (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))
def fog(images: Tensor, draws: Draws, strength: float, decay: float) -> Tensor:
    """Mix the image with a cloud, and darken it so that it does not get brighter.

    Args:
        images: Images of shape (B, C, H, W).
        draws: The cloud.
        strength: Weight of the cloud.
        decay: How quickly the cloud gets smoother with finer detail.
    """
    # The published program divides an amplitude by `decay`, and then squares it.
    cloud = _cloud(draws, *images.shape[2:], decay=decay**2).to(images)
    brightest = images.flatten(1).amax(dim=1).view(-1, 1, 1, 1)
    return (images + strength * cloud) * brightest / (brightest + strength)


@corruption(
    "spatter",
    (0.62, 0.1, 0.7, 0.7, 0.5, 0),
    (0.65, 0.1, 0.8, 0.7, 0.5, 0),
    (0.65, 0.3, 1, 0.69, 0.5, 0),
    (0.65, 0.1, 0.7, 0.69, 0.6, 1),
    (0.65, 0.1, 0.5, 0.68, 0.6, 1),
)
def spatter(
    images: Tensor,
    draws: Draws,
    mean: float,
    std: float,
    size: float,
    threshold: float,
    strength: float,
    muddy: float,
) -> Tensor:
    """Spatter water or mud on the lens.

    Args:
        images: Images of shape (B, C, H, W).
        draws: The drops.
        mean: Mean of the normal noise that becomes drops.
        std: Its standard deviation, before it is smoothed.
        size: Standard deviation of the smoothing.
        threshold: Where the smoothed noise is above, it is wet.
        strength: Brightness of water; of mud, how soft its edges are, in pixels.
        muddy: 1 for mud, 0 for water.
    """
    scale = filters.scale(images)
    # Smoothing over more pixels leaves less noise; that is made up for.
    noise = mean + std * scale * draws.normal(1, *images.shape[2:]).to(images)
    drops = filters.gaussian_blur(noise, size * scale)
    wet = (drops > threshold).to(images)
    if not muddy:
        light = wet * drops * _relief(wet, distance=round(scale))
        brightest = light.flatten(1).amax(dim=1).clamp(min=1e-6).view(-1, 1, 1, 1)
        return images + strength * light / brightest * filters.tint(WATER, images)
    cover = filters.gaussian_blur(wet, strength * scale)
    cover = torch.where(cover < OPAQUE, 0.0, cover)
    return images * (1 - cover) + cover * filters.tint(MUD, images)


def _relief(wet: Tensor, *, distance: int) -> Tensor:
    """Return how light falls on drops (B, 1, H, W): more on one side of each.

    The published program gets there by edges, distances and an emboss filter; this is
    the last of these alone, on drops with round edges.
    """
    height = filters.gaussian_blur(wet, distance)
    shift = torch.tensor(distance)
    above = filters.moved(height, -shift, -shift)
    below = filters.moved(height, shift, shift)
    return (height + below - above).clamp(0, 1)


def _ice(draws: Draws, height: int, width: int) -> Tensor:
    """Grow ice: (B, 1, height, width) in [0, 1], on average about 0.6.

    Where a cloud passes through its middle value runs a line. Lines of two clouds, one
    coarse and one fine, are the crystals; a third cloud is the breath around them.
    """
    ice = 0.5 * _cloud(draws, height, width, decay=2.0)
    for decay, sharpness in ((2.0, 8.0), (1.7, 4.0)):
        cloud = _cloud(draws, height, width, decay=decay)
        lines = (1 - (2 * cloud - 1).abs()) ** sharpness
        ice = ice + (1 - ice) * lines
    return ice


def _cloud(draws: Draws, height: int, width: int, *, decay: float) -> Tensor:
    """Grow clouds of shape (B, 1, height, width) in [0, 1]."""
    octaves = filters.octaves_of(height, width)
    noise = draws.uniform(-1, 1, 4**octaves - 1)
    grown = filters.diamond_square(noise, octaves=octaves, decay=decay)
    return grown[:, None, :height, :width]
