"""What overshoots a little is told from what is normalised in another way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lightly_adv.functional import pixels
from lightly_adv.functional.value_range import excess
from lightly_adv.types import NormalizeStats

IMAGENET: NormalizeStats = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CIFAR: NormalizeStats = {
    "mean": [0.4914, 0.4822, 0.4465],
    "std": [0.247, 0.2435, 0.2616],
}


def photos() -> Tensor:
    """Return smooth images in 256 levels, of which some pixels are saturated."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 3, 5, 5, generator=generator) * 1.6 - 0.3
    smooth = v2.Resize((32, 32), antialias=True)(coarse).clamp(0, 1)
    levels: Tensor = (smooth * 255).round() / 255
    return levels


def edges() -> Tensor:
    return (
        torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    ) * 1.0


BICUBIC = v2.Resize(
    (24, 24), interpolation=v2.InterpolationMode.BICUBIC, antialias=True
)


def noise(images: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return images + 0.1 * torch.randn(images.shape, generator=generator)


@pytest.mark.parametrize("images", [photos, edges])
@pytest.mark.parametrize("change", [BICUBIC, noise])
def test_resizing_and_noise_overshoot(
    images: Callable[[], Tensor], change: Callable[[Tensor], Tensor]
) -> None:
    changed = change(images())
    found = excess([changed], (0.0, 1.0), channels=3)
    assert found is not None
    assert not found.mistaken
    outside = (changed < -1e-3) | (changed > 1 + 1e-3)
    assert found.share == pytest.approx(float(outside.float().mean()))
    assert (found.low, found.high) == (float(changed.min()), float(changed.max()))


@pytest.mark.parametrize(
    ("applied", "undone"),
    [
        (IMAGENET, None),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, None),
        (IMAGENET, {"mean": [0.5] * 3, "std": [0.5] * 3}),
        (IMAGENET, CIFAR),
        ({"mean": [0.0] * 3, "std": [1 / 255] * 3}, None),
    ],
)
def test_another_normalisation_is_a_mistake(
    applied: NormalizeStats, undone: NormalizeStats | None
) -> None:
    views = pixels.to_normalized(photos(), applied)
    found = excess([pixels.to_pixels(views, undone)], (0.0, 1.0), channels=3)
    assert found is not None
    assert found.mistaken


def test_one_odd_view_among_many_is_no_mistake() -> None:
    odd = photos()[:1] + 0.3
    assert excess([odd], (0.0, 1.0)).mistaken  # type: ignore[union-attr]
    found = excess([odd, *[photos()] * 3], (0.0, 1.0))
    assert found is not None
    assert not found.mistaken


def test_inside_there_is_nothing_to_tell() -> None:
    assert excess([photos(), photos()[:0]], (0.0, 1.0)) is None
    assert excess([255 * photos()], (0.0, 255.0)) is None
    assert excess([], (0.0, 1.0)) is None
