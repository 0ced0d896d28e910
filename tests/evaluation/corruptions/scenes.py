"""Images that the tests of corruptions share."""

from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.corruptions.draws import Draws


def smooth(count: int = 6, height: int = 32, width: int = 32) -> Tensor:
    """Return coloured images with edges, in 8 bits, as photographs have them."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(count, 3, height, width, generator=generator)
    blurred = filters.gaussian_blur(noise, 2.5) - 0.5
    steps = 0.5 + 2 * blurred + 0.2 * (blurred > 0.02)
    return (255 * steps.clamp(0, 1)).round() / 255


def draws(count: int, seed: int = 0) -> Draws:
    return Draws([(seed, place) for place in range(count)])
