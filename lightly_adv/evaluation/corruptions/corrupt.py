"""Corrupt images as they come, each for itself."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from lightly_adv.evaluation.corruptions import table
from lightly_adv.evaluation.corruptions.draws import Draws


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    positions: Sequence[int] | None = None,
    seed: int = 0,
) -> Tensor:
    """Return corrupted images, as in CIFAR-10-C, but of any size ("C-style").

    An image with the same position, seed, corruption and severity gets the same draws,
    whatever batch it comes in. The result is rounded to 8 bits, as if it were stored.
    Lengths in pixels are for 32 x 32, and grow with the shorter side of larger
    images; all other strengths are the same for all sizes.

    - [0] Benchmarking Neural Network Robustness to Common Corruptions and
      Perturbations, 2019, https://arxiv.org/abs/1903.12261

    Args:
        images: Images of shape (B, C, H, W), floating, in [0, 1], with 1 or 3
            channels.
        name: Which corruption; a key of `CORRUPTIONS`.
        severity: From 1 to 5.
        positions: What tells each image from the others, not negative, such as its
            place in the data set. None stands for 0, 1, 2 and so on.
        seed: Seed of the draws, not negative.

    Returns:
        Images of the same shape, dtype and device, in [0, 1].

    Raises:
        TypeError: If the images are no floating tensor.
        ValueError: If the name is unknown, if the severity is not one of the five, if
            the images have another shape, leave [0, 1] or hold NaN, if there are
            none, or if the positions do not fit them.

    Examples:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> noisy = corrupt(images, "gaussian_noise", 5, positions=[40, 41])
        >>> again = corrupt(images[1:], "gaussian_noise", 5, positions=[41])
        >>> torch.equal(noisy[1:], again)
        True
    """
    corruption = table.find(name)
    (severity,) = table.check_severities([severity])
    _check(images)
    places = list(range(len(images)) if positions is None else positions)
    _check_positions(places, len(images), seed)
    stream = zlib.crc32(name.encode())
    draws = Draws([(seed, stream, severity, place) for place in places])
    with torch.no_grad():
        changed = corruption.change(
            images.float(), draws, *corruption.levels[severity - 1]
        )
        return ((255 * changed.clamp(0, 1)).round() / 255).to(images)


def _check(images: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"the images are {kind}; expected a floating tensor in [0, 1]. Divide "
            "bytes by 255."
        )
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(
            f"the images have shape {tuple(images.shape)}; expected (B, C, H, W) "
            "with one image or more, and 1 or 3 channels."
        )
    low, high = (float(value) for value in images.detach().aminmax())
    if not (low >= 0 and high <= 1):  # NaN, too
        raise ValueError(
            f"the images hold values from {low:.4g} to {high:.4g}; expected [0, 1]. "
            "Undo the normalisation first."
        )


def _check_positions(positions: Sequence[int], count: int, seed: int) -> None:
    if len(positions) != count or min(positions) < 0:
        raise ValueError(
            f"positions={positions[:8]} for {count} images; expected one for each, "
            "none of them negative."
        )
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; expected 0 or more.")
