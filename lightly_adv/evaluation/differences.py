"""Differences between two models on the same images, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor

_BOTH = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
"""Standard errors that a difference has to have to be told in 4 of 5 evaluations."""


@dataclass(frozen=True)
class PairedDifference:
    """How much more images one model gets right than another, in points of percent.

    Args:
        mean: The difference.
        low: Lower end of its 95 % interval.
        high: Upper end.

    Examples:
        >>> print(PairedDifference(2.94, 1.06, 4.7))
        +2.9 [+1.1, +4.7]
    """

    mean: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether 0 lies outside of the interval."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """Return the difference and its interval, with signs."""
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def paired_difference(
    first: Tensor, second: Tensor, *, draws: int = 2000, seed: int = 0
) -> PairedDifference:
    """Return the accuracy of the first model minus that of the second.

    The interval is a paired bootstrap: images are drawn with replacement, for both
    models the same. With several seeds the difference of an image is its mean over
    them, so the interval covers the choice of the images, not that of the seeds.

    Args:
        first: Whether each image is right, of shape (N,) or (seeds, N).
        second: The same for the other model, of the same shape.
        draws: Number of bootstrap samples.
        seed: Seed of the samples.

    Raises:
        ValueError: If the shapes differ, or if there is no image.

    Examples:
        >>> right = torch.arange(1000) % 2 == 0
        >>> print(paired_difference(right, right))
        +0.0 [+0.0, +0.0]
    """
    if first.shape != second.shape or first.dim() not in (1, 2) or not first.numel():
        raise ValueError(
            f"flags of the shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "expected (N,) or (seeds, N) for the same images."
        )
    # Points of percent; exact for whole numbers of images.
    points = 100 * (first.double() - second.double())
    points = points.mean(dim=0) if points.dim() == 2 else points
    generator = Generator().manual_seed(seed)
    count = len(points)
    means = torch.stack(
        [
            points[torch.randint(count, (count,), generator=generator)].mean()
            for _ in range(draws)
        ]
    )
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return PairedDifference(float(points.mean()), low, high)


def images_needed(
    first: Tensor, second: Tensor, *, difference: float | None = None
) -> int | None:
    """Return how many images it takes to tell two models apart.

    With that many images the 95 % interval of the difference leaves out 0 in 4 of 5
    evaluations, if the models differ on other images as they do on these. With p the
    share of images that one model alone gets right, and d the difference, both as
    shares, the difference of one image has the variance p - d^2, and n is
    ((1.960 + 0.842) / d)^2 (p - d^2): the two numbers are the quantiles of the normal
    distribution at 0.975 and at 0.8. The formula for McNemar's test [0] is another one:
    it multiplies the first with the root of p, the variance if there were no difference
    to tell, and so asks for 5 or 6 images more.

    - [0] Sample size and power considerations for McNemar's test, Connor, 1987,
      https://doi.org/10.2307/2531961

    Args:
        first: Whether each image is right, of shape (N,).
        second: The same for the other model.
        difference: Which difference to tell, in points of percent; None for that of
            these images.

    Returns:
        The number. It has no bound, and is None, where there is no difference to tell,
        or no image on which the models differ.

    Examples:
        >>> first, second = torch.ones(100).bool(), torch.ones(100).bool()
        >>> second[:10], first[10:16] = False, False
        >>> images_needed(first, second)
        778
    """
    unequal = (first.bool() != second.bool()).double().mean().item()
    observed = (first.double() - second.double()).mean().item()
    told = abs(observed) if difference is None else abs(difference) / 100
    if told == 0 or unequal == 0:
        return None
    variance = max(unequal, told) - told**2
    return math.ceil((_BOTH / told) ** 2 * variance)
