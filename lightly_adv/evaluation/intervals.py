"""How far a share that was counted may be from the true one."""

from __future__ import annotations

from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)
"""How many standard errors a 95 % interval reaches to each side."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in percent, after Wilson.

    Unlike the share plus and minus two standard errors it keeps within 0 and 100, and
    has a width at these, too.

    - [0] Probable Inference, the Law of Succession, and Statistical Inference, 1927,
      https://doi.org/10.1080/01621459.1927.10502953

    Args:
        right: How many were counted.
        count: Out of how many.

    Raises:
        ValueError: If there was nothing to count, or more was counted than there is.

    Examples:
        >>> low, high = wilson(10, 20)
        >>> round(low, 1), round(high, 1)
        (29.9, 70.1)
    """
    if count < 1 or not 0 <= right <= count:
        raise ValueError(
            f"{right} of {count} images; expected at least one image, and no more "
            "than all of them."
        )
    share, squared = right / count, Z95**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    spread = share * (1 - share) / count + squared / (4 * count**2)
    half = Z95 * spread**0.5 / (1 + squared / count)
    low = 0.0 if right == 0 else 100 * (middle - half)
    high = 100.0 if right == count else 100 * (middle + half)
    return low, high
