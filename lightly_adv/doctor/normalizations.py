"""Which normalisation images went through, guessed from their values alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from timm.data import constants

from lightly_adv.doctor.image_values import Values, fit
from lightly_adv.types import NormalizeStats

FILLED = 0.03
"""How much of [0, 1] may be empty at each end if a double mistake is to be believed."""

OUTERMOST = 0.02
"""Share of the pixels at each end that may overshoot."""

EMPTY = 0.1
"""How much of [0, 1] is seldom empty at each end if the normalisation is right."""

PLAIN = "none (plain pixels)"

_USUAL: dict[str, NormalizeStats] = {
    "ImageNet's": {
        "mean": constants.IMAGENET_DEFAULT_MEAN,
        "std": constants.IMAGENET_DEFAULT_STD,
    },
    "CIFAR-10's": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)},
    "CIFAR-10's (with the other std)": {
        "mean": (0.4914, 0.4822, 0.4465),
        "std": (0.2023, 0.1994, 0.2010),
    },
    "CIFAR-100's": {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)},
    "CLIP's": {"mean": constants.OPENAI_CLIP_MEAN, "std": constants.OPENAI_CLIP_STD},
    "that of [-1, 1] (mean and std 0.5)": {"mean": (0.5,), "std": (0.5,)},
    "MNIST's": {"mean": (0.1307,), "std": (0.3081,)},
}
_PLAIN: NormalizeStats = {"mean": (0.0,), "std": (1.0,)}
_BYTES: NormalizeStats = {"mean": (0.0,), "std": (1 / 255,)}
_TWICE: NormalizeStats = {"mean": (0.0,), "std": (255.0,)}


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


def usual(channels: int) -> list[Candidate]:
    """Return plain pixels and the usual normalisations for so many channels."""
    found = [Candidate(PLAIN, None, "plain")]
    for name, stats in _USUAL.items():
        if len(stats["mean"]) in (1, channels) and (name != "MNIST's" or channels == 1):
            found.append(Candidate(name, _chained(stats, _PLAIN, channels), "once"))
    return found


def name_of(normalize: NormalizeStats | None, channels: int) -> str | None:
    """Return the name of a normalisation; None if it is not a usual one.

    Examples:
        >>> name_of({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, 3)
        "ImageNet's"
    """
    if normalize is None:
        return PLAIN
    names = (
        each.name for each in usual(channels)[1:] if near(each.normalize, normalize)
    )
    return next(names, None)


def near(
    first: NormalizeStats | None,
    second: NormalizeStats | None,
    *,
    tolerance: float = 1e-3,
) -> bool:
    """Return whether two normalisations are about the same; None is that of pixels.

    Examples:
        >>> near({"mean": [0.0] * 3, "std": [1.0] * 3}, None)
        True
    """
    return all(
        abs(a - b) < tolerance
        for key in ("mean", "std")
        for a, b in _paired((first or _PLAIN)[key], (second or _PLAIN)[key])
    )


def candidates(channels: int, declared: NormalizeStats | None) -> Iterator[Candidate]:
    """Yield how images with so many channels may have been normalised.

    Args:
        channels: Number of channels.
        declared: The normalisation that they are said to have.
    """
    known = usual(channels)
    yield from known
    yield Candidate("0..255", _chained(_BYTES, _PLAIN, channels), "scale")
    yield Candidate("divided by 255 twice", _chained(_TWICE, _PLAIN, channels), "scale")
    once = {each.name: each.normalize for each in known if each.normalize is not None}
    if declared is not None and name_of(declared, channels) is None:
        once["the given one"] = declared
    for first, inner in once.items():
        scaled = _chained(inner, _BYTES, channels)
        yield Candidate(f"{first} applied to 0..255", scaled, "scale")
        for second, outer in once.items():
            name = f"{second} after {first}" if first != second else f"{first} twice"
            yield Candidate(name, _chained(outer, inner, channels), "double")


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


def _chained(
    outer: NormalizeStats, inner: NormalizeStats, channels: int
) -> NormalizeStats:
    """Return mean and std that undo first the outer, then the inner normalisation."""
    stats = (outer["mean"], outer["std"], inner["mean"], inner["std"])
    mean, std, mean_inner, std_inner = (
        torch.tensor(list(each), dtype=torch.float64).expand(channels) for each in stats
    )
    mean = mean * std_inner + mean_inner
    return {"mean": mean.tolist(), "std": (std * std_inner).tolist()}


def _paired(
    first: Sequence[float], second: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Yield the values of two normalisations channel by channel."""
    length = max(len(first), len(second))
    repeated = (
        list(each) * (length if len(each) == 1 else 1) for each in (first, second)
    )
    return zip(*repeated, strict=False)
