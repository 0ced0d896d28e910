from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lightly_adv.data.crop_flip import CropFlip, crop_flip, draw_crop_flip


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_equals_torchvision_image_by_image(dtype: torch.dtype, padding: int) -> None:
    images = (torch.rand(16, 3, 8, 6) * 255).to(dtype)
    drawn = draw_crop_flip(16, padding=padding)
    cropped = crop_flip(images, drawn, padding=padding)
    assert cropped.dtype == dtype
    for image, result, top, left, flipped in zip(images, cropped, *drawn, strict=True):
        expected = tv.pad(image, [padding] * 4)
        expected = tv.crop(expected, int(top), int(left), height=8, width=6)
        if flipped:
            expected = tv.horizontal_flip(expected)
        assert torch.equal(result, expected)


def test_centre_without_flip_is_the_image() -> None:
    images = torch.rand(4, 3, 8, 8)
    centre = torch.full((4,), 2)
    drawn = CropFlip(centre, centre, torch.zeros(4, dtype=torch.bool))
    assert torch.equal(crop_flip(images, drawn, padding=2), images)


def test_draws_cover_their_range_evenly() -> None:
    drawn = draw_crop_flip(9000, padding=4, generator=torch.Generator().manual_seed(0))
    for offsets in (drawn.top, drawn.left):
        shares = offsets.bincount(minlength=9) / 9000
        assert len(shares) == 9
        assert ((shares - 1 / 9).abs() < 0.02).all()
    assert drawn.flipped.float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_flip_never_and_always(probability: float) -> None:
    drawn = draw_crop_flip(100, padding=1, flip_probability=probability)
    assert drawn.flipped.float().mean().item() == probability


def test_generator_and_global_generator() -> None:
    before = torch.get_rng_state()
    first = draw_crop_flip(20, padding=4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    second = draw_crop_flip(20, padding=4)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
