"""Accuracies in percent, and their confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from torch import Tensor

Z95 = NormalDist().inv_cdf(0.975)
"""How many standard errors a 95 % interval reaches to each side."""


def percent(shares: Tensor) -> float:
    """Return the mean of flags, or of shares in [0, 1], in percent.

    Examples:
        >>> import torch
        >>> percent(torch.tensor([True, False, False, False]))
        25.0
    """
    return 100 * float(shares.double().sum()) / len(shares)


def mean(values: Sequence[float]) -> float:
    """Return the mean of one or more values."""
    return sum(values) / len(values)


def interval(flags: Tensor) -> list[float]:
    """Return the 95 % interval of the share of flags that are set, in percent.

    It tells how far the accuracy on all images of this kind may be from that on these.
    """
    return list(wilson(int(flags.sum()), len(flags)))


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a proportion, in percent.

    Unlike the proportion plus and minus two standard errors it stays within 0 and 100,
    and has a width at these, too.

    - [0] Probable Inference, the Law of Succession, and Statistical Inference, 1927,
      https://doi.org/10.1080/01621459.1927.10502953

    Args:
        correct: Number of correctly classified images.
        count: Number of all images.

    Raises:
        ValueError: If there are no images, or more correct ones than images.

    Examples:
        >>> low, high = wilson(10, 20)
        >>> round(low, 1), round(high, 1)
        (29.9, 70.1)
    """
    if count < 1 or not 0 <= correct <= count:
        raise ValueError(
            f"{correct} of {count} images; expected at least one image, and no more "
            "than all of them."
        )
    share, squared = correct / count, Z95**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    spread = share * (1 - share) / count + squared / (4 * count**2)
    half = Z95 * spread**0.5 / (1 + squared / count)
    low = 0.0 if correct == 0 else 100 * (middle - half)
    high = 100.0 if correct == count else 100 * (middle + half)
    return low, high
