"""Corruptions: what they are, their registry, and how images are corrupted."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from lightly_adv.evaluation.corruptions.draws import Draws
from lightly_adv.registry import Registry

Level: TypeAlias = tuple[float, ...]
Function = TypeVar("Function", bound=Callable[..., Tensor])

SEVERITIES = (1, 2, 3, 4, 5)

SOURCE = (
    "Hendrycks and Dietterich, https://arxiv.org/abs/1903.12261; the constants for "
    "32 x 32 of github.com/hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py"
)
"""Where the strengths come from."""

COMMON = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""Names of the 15 that a benchmark is the mean of."""

PUBLISHED = (*COMMON, "speckle_noise", "gaussian_blur", "spatter", "saturate")
"""These, and the four that are meant for tuning."""


@dataclass(frozen=True)
class Corruption:
    """A corruption, and how strong it is at each severity.

    Args:
        name: Its name; for published ones that of its file in CIFAR-10-C.
        change: From images (B, C, H, W) in [0, 1], `Draws` and the numbers of a level
            to images of the same shape, which may leave [0, 1].
        levels: What `change` is given at the severities from 1 to 5.

    Raises:
        ValueError: If there are not five levels.
    """

    name: str
    change: Callable[..., Tensor]
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if len(self.levels) != len(SEVERITIES):
            raise ValueError(
                f"the corruption {self.name!r} has {len(self.levels)} levels; expected "
                f"one for each of the severities {SEVERITIES}."
            )


REGISTRY = Registry[Corruption]("corruption", "lightly_adv.corruptions")
"""The corruptions by name."""


def corruption(name: str, *levels: float | Level) -> Callable[[Function], Function]:
    """Return a decorator that registers a function as a corruption.

    Args:
        name: Name of the corruption.
        *levels: For each severity the number, or numbers, that the function is given
            after images and draws.
    """

    def decorator(change: Function) -> Function:
        found = tuple(x if isinstance(x, tuple) else (x,) for x in levels)
        REGISTRY.register(name)(lambda: Corruption(name, change, found))
        return change

    return decorator


def resolve(corruptions: str | Sequence[str | Corruption]) -> tuple[Corruption, ...]:
    """Return corruptions by their names: "common" means 15, "all" 19.

    Raises:
        ValueError: If a name is unknown or given twice, or if there is none.

    Examples:
        >>> [len(resolve(names)) for names in ("common", "all", ["fog"])]
        [15, 19, 1]
    """
    groups: dict[str, Sequence[str]] = {"common": COMMON, "all": PUBLISHED}
    chosen = groups.get(corruptions) if isinstance(corruptions, str) else None
    return REGISTRY.resolve_all(chosen or corruptions, Corruption)


def check_severities(severities: Sequence[int]) -> tuple[int, ...]:
    """Return severities in rising order.

    Raises:
        ValueError: If one is not 1, 2, 3, 4 or 5, if one is given twice, or if there
            is none.

    Examples:
        >>> check_severities([5, 1])
        (1, 5)
    """
    found = sorted(severities)
    if not found or len(set(found)) < len(found) or not set(found) <= set(SEVERITIES):
        raise ValueError(
            f"severities={list(severities)}; expected one or more of 1, 2, 3, 4, 5, "
            "each once."
        )
    return tuple(found)


def corrupt(
    images: Tensor,
    corruption: str | Corruption,
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
        corruption: Which corruption: its name, or a `Corruption`.
        severity: From 1 to 5.
        positions: What tells each image from the others, not negative, such as its
            index in the data set. Defaults to 0, 1, 2 and so on.
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
    (corruption,) = resolve([corruption])
    (severity,) = check_severities([severity])
    _check(images)
    indices = list(range(len(images)) if positions is None else positions)
    _check_positions(indices, len(images), seed)
    stream = zlib.crc32(corruption.name.encode())
    draws = Draws([(seed, stream, severity, index) for index in indices])
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
