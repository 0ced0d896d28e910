"""The values of images: their range, and traces of 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightly_adv.functional import pixels
from lightly_adv.threat_model import RANGE_TOLERANCE
from lightly_adv.types import NormalizeStats

GRID = 0.02
"""How far from a multiple of 1/255 a pixel may lie, in units of 1/255."""

SAMPLE = 1 << 16
"""Values of each channel of a view that are looked at for the grid."""

LEVELS = 256
"""How many values pixels of 8 bits can have."""

FEWEST_LEVELS = 32
"""At least so many show their step: digits, for example, have only 17 values."""

FEWEST_IMAGES = 4
"""Fewer images might have one step by chance, as after jitter that scales each."""

REPEATED = 8
"""How often each of them occurs on average at least; values of no grid are unique."""


@dataclass(frozen=True)
class Values:
    """Summary of images: undoing a normalisation keeps the order of values.

    Args:
        low: Smallest value of each channel.
        high: Largest value of each channel.
        sample: Some values of each channel, (C, N); none of images in 16 bits, which
            are too coarse for the grid.
        images: Number of images in the smallest view.
    """

    low: Tensor
    high: Tensor
    sample: Tensor
    images: int


@dataclass(frozen=True)
class Fit:
    """What images look like once a normalisation is undone.

    Args:
        low: Smallest pixel of each channel.
        high: Largest pixel of each channel.
        on_grid: Share of pixels that are multiples of 1/255; 0 outside of [0, 1].
    """

    low: Tensor
    high: Tensor
    on_grid: float

    @property
    def inside(self) -> bool:
        """Whether all pixels lie in [0, 1]."""
        low, high = float(self.low.min()), float(self.high.max())
        return low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE

    @property
    def exact(self) -> bool:
        """Whether pixels came out of 8 bits in just this way."""
        return self.on_grid > 0.95

    def __str__(self) -> str:
        """Return the range of the pixels."""
        return f"[{float(self.low.min()):.3g}, {float(self.high.max()):.3g}]"

    @property
    def gap(self) -> float:
        """How much of [0, 1] is left empty at both ends, on average, in [0, 0.5]."""
        return float((self.low + 1 - self.high).mean() / 2)


def values_of(views: Sequence[Tensor]) -> Values:
    """Summarise views of shape (B, ..., C, H, W) with equally many channels."""
    rows = [view.detach().float().movedim(-3, 0).flatten(1) for view in views]
    ranges = [each.aminmax(dim=1) for each in rows]
    coarse = any(view.dtype in (torch.float16, torch.bfloat16) for view in views)
    picked = [row[:, :: max(1, row.shape[1] // SAMPLE)] for row in rows]
    sample = torch.cat(picked, dim=1).cpu()
    return Values(
        torch.stack([each.min for each in ranges]).amin(dim=0).cpu(),
        torch.stack([each.max for each in ranges]).amax(dim=0).cpu(),
        sample[:, :0] if coarse else sample,
        min(len(view) for view in views),
    )


def steps(values: Values) -> list[float | None]:
    """Return the step between neighbouring values of each channel, if they have one.

    Images of 8 bits have at most 256 values, at multiples of one step, whatever they
    are normalised with: its length is 1/255 by the std. Where images were resized or
    jittered as tensors, or do not show enough values, there is none: None.

    Examples:
        >>> image = (torch.arange(48 * 48) % 256).view(1, 1, 48, 48) / 255
        >>> view = (image.expand(4, 1, 48, 48) - 0.4) / 0.2
        >>> [round(255 * 0.2 * step, 3) for step in steps(values_of([view]))]
        [1.0]
    """
    if values.images < FEWEST_IMAGES or values.sample.numel() == 0:
        return [None] * len(values.low)
    return [_step(row) for row in values.sample.double()]


def _step(row: Tensor) -> float | None:
    found = row.sort().values
    # Equal bytes may have come to slightly different values, as by 1 - x.
    apart = found.diff() > 1e-5 * (found[-1] - found[0])
    found = torch.cat([found[:1], found[1:][apart]])
    if not FEWEST_LEVELS <= len(found) <= min(LEVELS, len(row) / REPEATED):
        return None
    found = found - found[0]
    # The smallest gap counts levels well enough to find a better one by least squares.
    numbers = (found / found.diff().min()).round()
    step = float((numbers @ found) / (numbers @ numbers))
    off_grid = (found / step - numbers).abs().max()
    return step if numbers[-1] < LEVELS and off_grid < GRID else None


def fit(values: Values, normalize: NormalizeStats | None) -> Fit:
    """Undo a normalisation.

    Examples:
        >>> view = torch.tensor([0, 51, 255]).view(1, 1, 1, 3) / 255
        >>> found = fit(values_of([view]), None)
        >>> found.inside, found.exact, found.gap
        (True, True, 0.0)
    """
    low, high = (_undone(each, normalize) for each in (values.low, values.high))
    found = Fit(low, high, 0.0)
    if not found.inside or values.sample.numel() == 0:
        return found
    steps = 255 * _undone(values.sample.T, normalize)
    near = (steps - steps.round()).abs() < GRID
    return Fit(low, high, float(near.float().mean()))


def _undone(values: Tensor, normalize: NormalizeStats | None) -> Tensor:
    """Undo a normalisation of values with channels last."""
    return pixels.to_pixels(values[..., None, None], normalize)[..., 0, 0]
