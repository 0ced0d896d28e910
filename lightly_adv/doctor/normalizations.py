"""Which normalisation an image came from, told from its values alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from timm.data import constants
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
"""So many of them are needed to tell their step: digits, say, have 17 of their own."""

FEWEST_IMAGES = 4
"""Fewer images might have one step by chance, as after jitter that scales each."""

REPEATED = 8
"""How often each of them occurs on average at least; values of no grid are unique."""

FILLED = 0.03
"""How much of [0, 1] may be empty at each end if a double mistake is to be believed."""

OUTERMOST = 0.02
"""Share of the pixels at each end that may overshoot."""

EMPTY = 0.1
"""How much of [0, 1] is seldom empty at each end if the normalisation is right."""

PLAIN = "none (plain pixels)"

_Stats: TypeAlias = tuple[Sequence[float], Sequence[float]]

_USUAL: dict[str, _Stats] = {
    "ImageNet's": (
        constants.IMAGENET_DEFAULT_MEAN,
        constants.IMAGENET_DEFAULT_STD,
    ),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "CIFAR-10's (with the other std)": (
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
    "CIFAR-100's": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "CLIP's": (constants.OPENAI_CLIP_MEAN, constants.OPENAI_CLIP_STD),
    "that of [-1, 1] (mean and std 0.5)": ((0.5,), (0.5,)),
    "MNIST's": ((0.1307,), (0.3081,)),
}
_BYTES = ((0.0,), (1 / 255,))
_TWICE = ((0.0,), (255.0,))


@dataclass(frozen=True)
class Candidate:
    """A way in which pixels may have become what they are.

    Args:
        name: What it is called.
        normalize: Mean and std that undo it, None for nothing.
        kind: "plain", "once", "double" (normalised twice), or "scale" (not divided by
            255, or twice).
    """

    name: str
    normalize: NormalizeStats | None
    kind: str


@dataclass(frozen=True)
class Values:
    """What is kept of images: undoing a normalisation keeps the order of values.

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


def usual(channels: int) -> list[Candidate]:
    """Return plain pixels and the usual normalisations for so many channels."""
    found = [Candidate(PLAIN, None, "plain")]
    for name, stats in _USUAL.items():
        if len(stats[0]) in (1, channels) and (name != "MNIST's" or channels == 1):
            found.append(Candidate(name, _normalize(stats, channels), "once"))
    return found


def name_of(normalize: NormalizeStats | None, channels: int) -> str | None:
    """Return the name of a normalisation; None if it is not a usual one.

    Examples:
        >>> name_of({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, 3)
        "ImageNet's"
    """
    for each in usual(channels):
        if _near(each.normalize, normalize):
            return each.name
    return None


def candidates(channels: int, declared: NormalizeStats | None) -> Iterator[Candidate]:
    """Yield what images with so many channels may have gone through.

    Args:
        channels: Number of channels.
        declared: What they are said to have gone through.
    """
    known = usual(channels)
    yield from known
    yield Candidate("0..255", _normalize(_BYTES, channels), "scale")
    yield Candidate("divided by 255 twice", _normalize(_TWICE, channels), "scale")
    once = {each.name: each.normalize for each in known if each.normalize is not None}
    if declared is not None and name_of(declared, channels) is None:
        once["the given one"] = declared
    for first, inner in once.items():
        scaled = _both(_stats(inner), _BYTES)
        name = f"{first} applied to 0..255"
        yield Candidate(name, _normalize(scaled, channels), "scale")
        for second, outer in once.items():
            name = f"{second} after {first}" if first != second else f"{first} twice"
            both = _both(_stats(outer), _stats(inner))
            yield Candidate(name, _normalize(both, channels), "double")


def best(values: Values, declared: NormalizeStats | None) -> Candidate | None:
    """Return the candidate that explains the images best; None if none does.

    The one that puts pixels onto multiples of 1/255 is certain. Without such traces
    of 8 bits it is the one that fills [0, 1] best, and the simpler one in doubt.
    """
    found: list[tuple[bool, float, Candidate]] = []
    for each in candidates(len(values.low), declared):
        seen = fit(values, each.normalize)
        simple = each.kind in ("plain", "once")
        if seen.inside and (simple or seen.exact or seen.gap < FILLED):
            found.append(
                (not seen.exact, round(seen.gap, 3) + 0.05 * (not simple), each)
            )
    return min(found, key=lambda each: each[:2])[2] if found else None


def guess(values: Values) -> Candidate | None:
    """Return the normalisation that explains images best, None if none does.

    Where none does well, the outermost pixels are left out: they may overshoot, as
    after resizing of float images.
    """
    found = best(values, None)
    if found is not None and fit(values, found.normalize).gap < EMPTY:
        return found
    return _best_of_most(values) or found


def _best_of_most(values: Values) -> Candidate | None:
    if values.sample.numel() == 0:
        return None
    ends = torch.tensor([OUTERMOST, 1 - OUTERMOST])
    low, high = values.sample.quantile(ends, dim=1)
    inner = dataclasses.replace(values, low=low, high=high, sample=values.sample[:, :0])
    return best(inner, None)


def _both(outer: _Stats, inner: _Stats) -> _Stats:
    """Mean and std that undo first the outer, then the inner normalisation."""
    length = max(len(outer[0]), len(inner[0]))
    mean_o, std_o, mean_i, std_i = (
        torch.tensor(list(each), dtype=torch.float64).expand(length)
        for each in (*outer, *inner)
    )
    return (mean_o * std_i + mean_i).tolist(), (std_o * std_i).tolist()


def _normalize(stats: _Stats, channels: int) -> NormalizeStats:
    mean, std = (list(each) * (channels if len(each) == 1 else 1) for each in stats)
    return {"mean": mean, "std": std}


def _stats(normalize: NormalizeStats) -> _Stats:
    return normalize["mean"], normalize["std"]


def _near(first: NormalizeStats | None, second: NormalizeStats | None) -> bool:
    if first is None or second is None:
        return first is second
    return all(
        len(a) == len(b) and all(abs(x - y) < 1e-3 for x, y in zip(a, b, strict=True))
        for a, b in zip(_stats(first), _stats(second), strict=True)
    )
