"""JPEG: a perturbation is added to the coefficients of the compressed image.

The image is taken apart as JPEG does it: luma and two chroma planes, the latter at
half of the resolution, in blocks of 8 x 8, their cosine transform, divided by the
standard tables of quality 50. Coefficients are not rounded, so that all of this is
linear; without a perturbation only the resolution of the colours is lost. A parameter
of 1 moves a coefficient by half a step of its quantisation, as far as rounding would.

- [0] Testing Robustness Against Unforeseen Adversaries, 2019,
  https://arxiv.org/abs/1908.08016
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightly_adv.evaluation.unforeseen.attack import unforeseen_attack
from lightly_adv.evaluation.unforeseen.parametrization import (
    Ball,
    FrankWolfe,
    Parametrization,
    check_colours,
)

HALF_STEPS = "half steps of the quantisation"
"""The unit of the strengths."""

LARGEST = 2.0
"""Largest parameter under L2 and L1."""

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Table K.1 of ITU-T T.81: quantisation of luma."""

CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Table K.2: quantisation of chroma."""

TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
"""From red, green and blue to luma and chroma, as in JFIF."""


@unforeseen_attack(
    "jpeg_linf",
    eps=(0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0),
    unit=HALF_STEPS,
    ata=(89.7, 87.0, 83.1, 78.6, 69.7, 35.4),
)
def linf(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Move every coefficient by at most eps half steps.

    Args:
        images: Images of shape (B, 3, H, W), float32 in [0, 1], with sides that are
            multiples of 16.
        eps: Radius, in half steps of the quantisation.
        generator: Source of the start.

    Raises:
        ValueError: If the images have other sides, or another number of channels.
    """
    return _moved(images, Ball("Linf", eps), generator)


@unforeseen_attack(
    "jpeg_l2",
    eps=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    unit=HALF_STEPS,
    ata=(92.2, 91.0, 88.4, 85.8, 81.3, 72.0),
)
def l2(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Move coefficients by eps half steps, as a Euclidean distance; see `linf`."""
    return _moved(images, Ball("L2", eps, -LARGEST, LARGEST), generator)


@unforeseen_attack(
    "jpeg_l1",
    eps=(2.0, 8.0, 64.0, 256.0, 512.0, 1024.0),
    unit=HALF_STEPS,
    ata=(91.4, 88.1, 80.2, 68.9, 56.3, 37.7),
)
def l1(images: Tensor, eps: float, generator: Generator, /) -> Parametrization:
    """Move coefficients by a sum of eps half steps, by Frank-Wolfe; see `linf`."""
    return _moved(images, FrankWolfe(eps, -LARGEST, LARGEST), generator)


def encode(images: Tensor) -> Tensor:
    """Return the coefficients of images, before rounding.

    Args:
        images: Images of shape (B, 3, H, W) in [0, 1].

    Returns:
        Coefficients of shape (B, 1.5 * H * W) in steps of their quantisation, those of
        luma first, then those of both chroma planes; block by block.
    """
    matrix = torch.tensor(TO_YCC).to(images)
    planes = torch.einsum("kc,bchw->bkhw", matrix, 255 * images)
    luma, chroma = planes[:, :1] - 128, F.avg_pool2d(planes[:, 1:], 2)
    parts = [
        _blocks(plane, table).flatten(1)
        for plane, table in ((luma, LUMA_TABLE), (chroma, CHROMA_TABLE))
    ]
    return torch.cat(parts, dim=1)


def decode(coefficients: Tensor, *, height: int, width: int) -> Tensor:
    """Return images (B, 3, height, width), cut to [0, 1]; inverse of `encode`."""
    area = height * width
    luma = _joined(coefficients[:, :area], LUMA_TABLE, height, width) + 128
    chroma = _joined(coefficients[:, area:], CHROMA_TABLE, height // 2, width // 2)
    planes = torch.cat([luma, F.interpolate(chroma, scale_factor=2.0)], dim=1)
    matrix = torch.tensor(TO_YCC, dtype=torch.float64).inverse().to(planes)
    return (torch.einsum("ck,bkhw->bchw", matrix, planes) / 255).clamp(0, 1)


@functools.cache
def _cosines() -> tuple[tuple[float, ...], ...]:
    """Return the matrix of the orthonormal cosine transform of 8 values."""
    return tuple(
        tuple(
            (math.sqrt(1 / 8) if k == 0 else 0.5)
            * math.cos(math.pi * (2 * n + 1) * k / 16)
            for n in range(8)
        )
        for k in range(8)
    )


def _blocks(planes: Tensor, table: tuple[tuple[int, ...], ...]) -> Tensor:
    """Transform planes (B, P, H, W) to (B, P, H / 8, W / 8, 8, 8)."""
    cosines = torch.tensor(_cosines()).to(planes)
    batch, count, height, width = planes.shape
    split = planes.reshape(batch, count, height // 8, 8, width // 8, 8)
    blocks = cosines @ split.transpose(3, 4) @ cosines.T
    return blocks / torch.tensor(table).to(planes)


def _joined(
    coefficients: Tensor, table: tuple[tuple[int, ...], ...], height: int, width: int
) -> Tensor:
    """Transform coefficients back to planes (B, P, height, width)."""
    cosines = torch.tensor(_cosines()).to(coefficients)
    shape = (len(coefficients), -1, height // 8, width // 8, 8, 8)
    blocks = coefficients.view(shape) * torch.tensor(table).to(coefficients)
    planes = cosines.T @ blocks @ cosines
    return planes.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _moved(
    images: Tensor, space: Ball | FrankWolfe, generator: Generator
) -> Parametrization:
    check_colours(images, "JPEG")
    height, width = images.shape[2:]
    if height % 16 or width % 16:
        raise ValueError(
            f"the images are {height} x {width}; the JPEG attacks need sides that "
            "are multiples of 16, as their colours have half of the resolution and "
            "blocks of 8. Resize the images, or leave these attacks out with "
            "attacks=[...]."
        )
    plain = encode(images)

    def render(z: Tensor) -> Tensor:
        return decode(plain + z / 2, height=height, width=width)

    return Parametrization(space.start(plain, generator), space, render)
