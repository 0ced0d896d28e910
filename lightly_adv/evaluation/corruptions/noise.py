"""Noise: every value of an image is changed on its own."""

from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.evaluation.corruptions.corruption import corruption
from lightly_adv.evaluation.corruptions.draws import Draws


@corruption("gaussian_noise", 0.04, 0.06, 0.08, 0.09, 0.1)
def gaussian(images: Tensor, draws: Draws, std: float) -> Tensor:
    """Add normal noise, as of a sensor in little light."""
    return images + std * draws.normal(*images.shape[1:]).to(images)


@corruption("shot_noise", 500, 250, 100, 75, 50)
def shot(images: Tensor, draws: Draws, photons: float) -> Tensor:
    """Count photons, of which white has as many on average."""
    return draws.poisson(images * photons).to(images) / photons


@corruption("impulse_noise", 0.01, 0.02, 0.03, 0.05, 0.07)
def impulse(images: Tensor, draws: Draws, share: float) -> Tensor:
    """Set a share of the values to 0 or 1, either with the same probability."""
    drawn = draws.uniform(0, 1, *images.shape[1:]).to(images)
    salted = torch.where(drawn > 1 - share / 2, 1.0, images)
    return torch.where(drawn < share / 2, 0.0, salted)


@corruption("speckle_noise", 0.06, 0.1, 0.12, 0.16, 0.2)
def speckle(images: Tensor, draws: Draws, std: float) -> Tensor:
    """Add normal noise in proportion to the value."""
    return images + std * images * draws.normal(*images.shape[1:]).to(images)
