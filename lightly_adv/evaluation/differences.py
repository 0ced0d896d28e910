"""Differences between two models on the same pictures, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class PairedDifference:
    """How much more pictures one model gets right than another, in points of percent.

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

    The interval is a paired bootstrap: pictures are drawn with replacement, for both
    models the same. With several seeds the difference of a picture is its mean over
    them, so the interval covers the choice of the pictures, not that of the seeds.

    Args:
        first: Whether each picture is right, of shape (N,) or (seeds, N).
        second: The same for the other model, of the same shape.
        draws: Number of bootstrap samples.
        seed: Seed of the samples.

    Raises:
        ValueError: If the shapes differ, or if there is no picture.

    Examples:
        >>> right = torch.arange(1000) % 2 == 0
        >>> print(paired_difference(right, right))
        +0.0 [+0.0, +0.0]
    """
    if first.shape != second.shape or first.dim() not in (1, 2) or not first.numel():
        raise ValueError(
            f"flags of the shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "expected (N,) or (seeds, N) for the same pictures."
        )
    # Points of percent; exact for whole numbers of pictures.
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
