"""Do images lie in the range of pixels: inside, a little outside, or elsewhere?"""

from __future__ import annotations

import math
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

    def message(self, bounds: tuple[float, float], *, normalized: bool) -> str:
        """Say what the images seem to be, and what to do.

        Args:
            bounds: Smallest and largest valid pixel.
            normalized: Whether a normalisation was undone.
        """
        remedy = self._remedy(bounds, normalized=normalized)
        return (
            f"a view spans [{self.low:.4g}, {self.high:.4g}] in pixels, "
            f"{100 * self.share:.2g} % of them outside, expected values inside "
            f"{list(bounds)}: {remedy} If they only overshoot, clamp them in the "
            "transform, or widen bounds=."
        )

    @property
    def is_finite(self) -> bool:
        """Whether there is neither NaN nor inf."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def _remedy(self, bounds: tuple[float, float], *, normalized: bool) -> str:
        if not self.is_finite:
            return "the images hold NaN or inf; look at the transform."
        if self.high > bounds[0] + 16 * (bounds[1] - bounds[0]):
            return (
                "the images look like 0..255; divide them by 255, or give bounds=(0, "
                "255) with eps and step_size in the same units."
            )
        if not normalized:
            return (
                "the views look normalised; pass normalize= with the mean and std of "
                "your transform (Lightly's transforms use IMAGENET_NORMALIZE by "
                "default)."
            )
        return (
            "normalize= does not undo what the transform did; were the views "
            "normalised twice, or with another mean and std?"
        )


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
    if not any(each.numel() for each in positions):
        return None
    return judged(measured(positions, bounds, channels=channels).tolist(), bounds)


def measured(
    positions: Sequence[Tensor], bounds: tuple[float, float], *, channels: int = 1
) -> Tensor:
    """Measure the same, and leave the numbers where the images are.

    Returns:
        Tensor of shape (5,) for `judged`: the smallest and the largest pixel, the share
        of the pixels outside and far outside, and whether those at an end of the range
        pile up beyond the bounds.
    """
    filled = [each for each in positions if each.numel()]
    if not filled:
        return positions[0].new_full((5,), bounds[0], dtype=torch.float32)
    width = bounds[1] - bounds[0]
    total = sum(each.numel() for each in filled)
    shares = [
        torch.stack([_outside(each, bounds, by).sum() for each in filled]).sum() / total
        for by in (TOLERANCE * width, FAR * width)
    ]
    lowest, highest, piled = _ends(filled, bounds, channels=channels)
    found = [lowest.min(), highest.max(), *shares, piled]
    return torch.stack([each.float() for each in found])


def judged(values: Sequence[float], bounds: tuple[float, float]) -> Excess | None:
    """Return what `measured` has found, None if all pixels are inside."""
    low, high, share, far, piled = values
    slack = TOLERANCE * (bounds[1] - bounds[0])
    if low >= bounds[0] - slack and high <= bounds[1] + slack:
        return None
    return Excess(low, high, share, mistaken=far > MOST_FAR or bool(piled))


def refused(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return whether `measured` has found what is mistaken or not finite, unread."""
    low, high, _, far, piled = values.unbind()
    slack = TOLERANCE * (bounds[1] - bounds[0])
    inside = (low >= bounds[0] - slack).logical_and(high <= bounds[1] + slack)
    mistaken = (far > MOST_FAR).logical_or(piled > 0)
    finite = low.isfinite().logical_and(high.isfinite())
    return inside.logical_or(finite.logical_and(mistaken.logical_not())).logical_not()


def _outside(position: Tensor, bounds: tuple[float, float], by: float) -> Tensor:
    return (position < bounds[0] - by) | (position > bounds[1] + by)


def _ends(
    positions: Sequence[Tensor], bounds: tuple[float, float], *, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ends of each channel, and whether one has another end than a bound.

    Lowest and highest pixels have shape (C,), or (1,); the third is one bool.
    """
    shown = [_by_channel(each, channels) for each in positions]
    lowest = torch.stack([each.amin(_others(each)) for each in shown]).amin(dim=0)
    highest = torch.stack([each.amax(_others(each)) for each in shown]).amax(dim=0)
    slack = TOLERANCE * (bounds[1] - bounds[0])
    many = max(8, PILE * sum(each.numel() for each in shown) / len(lowest))

    def count(low: Tensor | float, high: Tensor | float) -> Tensor:
        return torch.stack([_between(each, low, high) for each in shown]).sum(dim=0)

    def piled(beyond: Tensor, at_end: Tensor, bound: float) -> Tensor:
        at_bound = count(bound - slack, bound + slack)
        return beyond & (at_end >= many) & (at_end > 2 * at_bound)

    near = slack / 100
    above = piled(
        highest > bounds[1] + 10 * slack, count(highest - near, highest), bounds[1]
    )
    below = piled(
        lowest < bounds[0] - 10 * slack, count(lowest, lowest + near), bounds[0]
    )
    return lowest, highest, (above | below).any()


def _by_channel(position: Tensor, channels: int) -> Tensor:
    """Return a view of the pixels, of shape (N, C, ...), or (1, 1, N)."""
    if channels == 1:
        return position.flatten()[None, None]
    return position.movedim(pixels.channel_dim(position, channels), 1)


def _others(shown: Tensor) -> tuple[int, ...]:
    return tuple(at for at in range(shown.dim()) if at != 1)


def _between(shown: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Count the pixels of each channel from low to high."""
    first, last = (
        end.view(1, -1, *[1] * (shown.dim() - 2)) if isinstance(end, Tensor) else end
        for end in (low, high)
    )
    return ((shown >= first) & (shown <= last)).sum(_others(shown))
