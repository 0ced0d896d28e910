"""Lines of the image are missing, as after an error in transmission."""

from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.evaluation.corruptions import Corruption, Draws


def lines(images: Tensor, draws: Draws, share: float) -> Tensor:
    """Black out a share of the lines of each image.

    Args:
        images: Images of shape (B, C, H, W) in [0, 1].
        draws: Draws for each image from a generator of its own.
        share: How many of the lines, on average.
    """
    drawn = draws.uniform(0, 1, 1, images.shape[2], 1).to(images)
    return torch.where(drawn < share, 0.0, images)


def create_lines() -> Corruption:
    """Return the corruption with a share for each severity.

    Examples:
        >>> from lightly_adv.evaluation.corruptions import corrupt
        >>> images = corrupt(torch.ones(2, 3, 32, 32), create_lines(), 5)
        >>> images.unique()
        tensor([0., 1.])
    """
    return Corruption("lines", lines, ((0.02,), (0.05,), (0.1,), (0.2,), (0.4,)))
