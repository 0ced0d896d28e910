"""Do images lie in the range of pixels: inside, a little outside, or elsewhere?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightly_adv.functional import pixels

TOLERANCE = 1e-3
"""How far a pixel may lie outside without a word, as a share of the range."""

FAR = 0.25
"""How far outside a pixel seldom is unless the normalisation is wrong.

Bicubic resizing takes hard edges out by up to 0.28 of the range, natural images by
0.08. Without its normalisation undone, half of an image lies further out than that.
"""

MOST_FAR = 0.02
"""The share of pixels that may lie far outside."""

PILE = 3e-3
"""The share of a channel at its outermost value, from which on the range ends there.

Saturated pixels of 8-bit images have one value. Where that is not the end of the
range, but beyond it, mean and std are others; values that overshoot differ.
"""


@dataclass(frozen=True)
class Excess:
    """How images leave the range of pixels.

    Args:
        low: Smallest pixel.
        high: Largest pixel.
        share: Share of the pixels that lie outside.
        mistaken: Whether there are too many of them, or too far outside, for the
            overshoot of resizing, noise or jitter.
    """

    low: float
    high: float
    share: float
    mistaken: bool


def excess(
    positions: Sequence[Tensor], bounds: tuple[float, float], *, channels: int = 1
) -> Excess | None:
    """Measure how pixels leave their range, over all images together.

    Args:
        positions: Images in pixels, of shape (..., C, H, W).
        bounds: Smallest and largest valid pixel.
        channels: How many channels have a mean and std of their own.

    Returns:
        None where all of them are inside, but for `TOLERANCE`; NaN is not.

    Examples:
        >>> image = torch.linspace(-0.05, 1, 48).view(1, 3, 4, 4)
        >>> found = excess([image], (0.0, 1.0))
        >>> round(found.share, 2), found.mistaken
        (0.06, False)
        >>> excess([image * 255], (0.0, 1.0)).mistaken
        True
    """
    filled = [each for each in positions if each.numel()]
    if not filled:
        return None
    ends = torch.stack([torch.stack(each.aminmax()).float() for each in filled])
    low, high = torch.stack([ends[:, 0].min(), ends[:, 1].max()]).tolist()
    width = bounds[1] - bounds[0]
    slack = TOLERANCE * width
    # Where nothing lies outside, no more than this is read from the device.
    if low >= bounds[0] - slack and high <= bounds[1] + slack:
        return None
    outside = [_outside(each, bounds) for each in filled]
    total = sum(each.numel() for each in outside)
    share = sum(float((each > slack).sum()) for each in outside) / total
    far = sum(float((each > FAR * width).sum()) for each in outside) / total
    mistaken = far > MOST_FAR or _piled(filled, bounds, channels=channels)
    return Excess(low, high, share, mistaken)


def _outside(position: Tensor, bounds: tuple[float, float]) -> Tensor:
    """By how much each pixel lies outside; not positive inside."""
    return torch.maximum(bounds[0] - position, position - bounds[1])


def _piled(
    positions: Sequence[Tensor], bounds: tuple[float, float], *, channels: int
) -> bool:
    """Whether the values of a channel end at another place than at a bound."""
    each = torch.cat([_by_channel(position, channels) for position in positions], dim=1)
    slack = TOLERANCE * (bounds[1] - bounds[0])
    above = _ends_beyond(each, bounds[1], slack=slack)
    return above or _ends_beyond(-each, -bounds[0], slack=slack)


def _ends_beyond(values: Tensor, bound: float, *, slack: float) -> bool:
    last = values.amax(dim=1, keepdim=True)
    beyond = last.flatten() > bound + 10 * slack
    at_last = (values >= last - slack / 100).sum(dim=1)
    at_bound = ((values - bound).abs() <= slack).sum(dim=1)
    many = (at_last >= 8) & (at_last >= PILE * values.shape[1])
    return bool((beyond & many & (at_last > 2 * at_bound)).any())


def _by_channel(position: Tensor, channels: int) -> Tensor:
    """Shape (C, N) with the pixels of each channel, or (1, N)."""
    if channels == 1:
        return position.reshape(1, -1)
    at = pixels.channel_dim(position, channels)
    return position.movedim(at, 0).flatten(1)
