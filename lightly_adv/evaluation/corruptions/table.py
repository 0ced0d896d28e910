"""The corruptions, with their published strengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from lightly_adv.evaluation.corruptions import blur, digital, noise, weather
from lightly_adv.functional import validation

Level = tuple[float, ...]

SOURCE = (
    "Hendrycks and Dietterich, https://arxiv.org/abs/1903.12261; the constants for "
    "32 x 32 of github.com/hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py"
)
"""Where the strengths come from."""


@dataclass(frozen=True)
class Corruption:
    """A corruption, and how strong it is at each severity.

    Args:
        name: Its name, which is that of its file in CIFAR-10-C.
        change: From images (B, C, H, W) in [0, 1], draws and the numbers of a level
            to images of the same shape, which may leave [0, 1].
        levels: What `change` is given at the severities from 1 on.
        common: Whether it is one of the 15 that a benchmark is the mean of; the other
            four are meant for tuning.
    """

    name: str
    change: Callable[..., Tensor]
    levels: tuple[Level, ...]
    common: bool = True


def _singles(*values: float) -> tuple[Level, ...]:
    return tuple((value,) for value in values)


_ALL = (
    Corruption("gaussian_noise", noise.gaussian, _singles(0.04, 0.06, 0.08, 0.09, 0.1)),
    Corruption("shot_noise", noise.shot, _singles(500, 250, 100, 75, 50)),
    Corruption("impulse_noise", noise.impulse, _singles(0.01, 0.02, 0.03, 0.05, 0.07)),
    Corruption(
        "defocus_blur",
        blur.defocus,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    ),
    Corruption(
        "glass_blur",
        blur.glass,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    ),
    Corruption(
        "motion_blur", blur.motion, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
    ),
    Corruption("zoom_blur", blur.zoom, _singles(7, 12, 16, 21, 26)),
    Corruption(
        "snow",
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    Corruption(
        "frost",
        weather.frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    ),
    Corruption(
        "fog", weather.fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))
    ),
    Corruption("brightness", digital.brightness, _singles(0.05, 0.1, 0.15, 0.2, 0.3)),
    Corruption("contrast", digital.contrast, _singles(0.75, 0.5, 0.4, 0.3, 0.15)),
    Corruption(
        "elastic_transform",
        digital.elastic,
        (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
    ),
    Corruption("pixelate", digital.pixelate, _singles(0.95, 0.9, 0.85, 0.75, 0.65)),
    Corruption("jpeg_compression", digital.jpeg, _singles(80, 65, 58, 50, 40)),
    Corruption(
        "speckle_noise", noise.speckle, _singles(0.06, 0.1, 0.12, 0.16, 0.2), False
    ),
    Corruption("gaussian_blur", blur.gaussian, _singles(0.4, 0.6, 0.7, 0.8, 1), False),
    Corruption(
        "spatter",
        weather.spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        False,
    ),
    Corruption(
        "saturate",
        digital.saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        False,
    ),
)

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({e.name: e for e in _ALL})
"""All 19, by name."""

COMMON = tuple(each.name for each in _ALL if each.common)
"""Names of the 15 that a benchmark is the mean of."""

SEVERITIES = (1, 2, 3, 4, 5)


def find(name: str) -> Corruption:
    """Return a corruption.

    Raises:
        ValueError: If there is none of that name, with the near ones.
    """
    if name not in CORRUPTIONS:
        hint = validation.did_you_mean(name, CORRUPTIONS)
        raise ValueError(
            f"unknown corruption {name!r}. {hint}Expected one of "
            f"{', '.join(CORRUPTIONS)}."
        )
    return CORRUPTIONS[name]


def resolve(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of corruptions: "common" stands for 15, "all" for 19.

    Raises:
        ValueError: If a name is unknown or given twice, or if there is none.

    Examples:
        >>> len(resolve("common")), len(resolve("all")), resolve(["fog"])
        (15, 19, ('fog',))
    """
    groups = {"common": COMMON, "all": tuple(CORRUPTIONS)}
    if isinstance(names, str):
        if names not in groups:
            find(names)
            raise ValueError(f"corruptions={names!r}; expected a list, [{names!r}].")
        return groups[names]
    found = tuple(find(name).name for name in names)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"corruptions={list(found)}; expected one or more, each once.")
    return found


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
