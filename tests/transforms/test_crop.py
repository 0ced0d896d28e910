from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lightly_adv.transforms import RandomCrop, RandomResizedCrop
from lightly_adv.transforms.crop import Boxes, Corners
from lightly_adv.transforms.resampling import Interpolation

TOLERANCE = 2e-6
"""Of float32 pixels in [0, 1]: torchvision adds up in another order."""


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(32, 32), (9, 14), (48, 64), (24, 40)])
def test_resized_crops_equal_torchvision_image_by_image(
    interpolation: Interpolation, size: tuple[int, int]
) -> None:
    images = torch.rand(12, 3, 24, 40)
    crop = RandomResizedCrop(size, interpolation=interpolation)
    boxes = crop.draw(images)
    # Among them the whole image, a single pixel, and a corner.
    fixed = ((0, 0, 24, 40), (5, 6, 1, 1), (20, 33, 4, 7))
    for at, box in enumerate(fixed):
        for values, value in zip(boxes, box, strict=True):
            values[at] = value
    cropped = crop.apply(images, boxes)
    assert cropped.shape == (12, 3, *size)
    for image, result, box in zip(
        images, cropped, zip(*boxes, strict=True), strict=True
    ):
        mode = tv.InterpolationMode(interpolation)
        expected = tv.resized_crop(
            image, *map(int, box), size=list(size), interpolation=mode, antialias=True
        )
        torch.testing.assert_close(result, expected.clamp(0, 1), atol=TOLERANCE, rtol=0)


def test_whole_image_of_the_same_size_stays_bit_for_bit() -> None:
    images = torch.rand(2, 3, 16, 16)
    zero, side = torch.zeros(2, dtype=torch.long), torch.full((2,), 16)
    for interpolation in ("bilinear", "bicubic"):
        crop = RandomResizedCrop((16, 16), interpolation=interpolation)
        assert torch.equal(crop.apply(images, Boxes(zero, zero, side, side)), images)


@pytest.mark.parametrize("size", [(24, 40), (40, 24), (32, 32)])
def test_boxes_lie_inside_and_have_area_and_ratio(size: tuple[int, int]) -> None:
    height, width = size
    crop = RandomResizedCrop((8, 8), scale=(0.2, 0.6))
    generator = torch.Generator().manual_seed(0)
    boxes = crop.draw(torch.zeros(2000, 3, height, width), generator)
    assert (boxes.top >= 0).all()
    assert (boxes.left >= 0).all()
    assert (boxes.top + boxes.height <= height).all()
    assert (boxes.left + boxes.width <= width).all()
    area = boxes.height * boxes.width / (height * width)
    # Sides are rounded to whole pixels.
    assert 0.17 < float(area.min()) < 0.23
    assert 0.57 < float(area.max()) < 0.63
    assert area.mean().item() == pytest.approx(0.4, abs=0.02)
    ratio = boxes.width / boxes.height
    assert 0.68 < float(ratio.min()) < 0.8
    assert 1.25 < float(ratio.max()) < 1.45
    assert ratio.log().mean().item() == pytest.approx(0, abs=0.02)
    for start, length, side in (
        (boxes.top, boxes.height, height),
        (boxes.left, boxes.width, width),
    ):
        assert (start == 0).any()
        assert (start + length == side).any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 40), (0, 13, 10, 13)),
        ((40, 10), (13, 0, 13, 10)),
        ((12, 12), (0, 0, 12, 12)),
    ],
)
def test_where_no_box_fits_the_middle_is_taken(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    crop = RandomResizedCrop((8, 8), scale=(4.0, 4.0))
    boxes = crop.draw(torch.zeros(3, 3, *size))
    assert [tuple(map(int, box)) for box in zip(*boxes, strict=True)] == [expected] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_padded_crops_equal_torchvision(dtype: torch.dtype, padding: int) -> None:
    images = (torch.rand(16, 3, 8, 6) * 255).to(dtype)
    crop = RandomCrop(padding)
    drawn = crop.draw(images)
    cropped = crop.apply(images, drawn)
    assert cropped.dtype == dtype
    for image, result, top, left in zip(images, cropped, *drawn, strict=True):
        expected = tv.pad(image, [padding] * 4)
        expected = tv.crop(expected, int(top), int(left), height=8, width=6)
        assert torch.equal(result, expected)


@pytest.mark.parametrize("padding", [0, 3])
def test_crops_of_another_size_equal_torchvision(padding: int) -> None:
    images = torch.rand(16, 3, 8, 6)
    crop = RandomCrop(padding, size=(5, 4))
    drawn = crop.draw(images)
    assert int(drawn.top.max()) <= 3 + 2 * padding
    for image, result, top, left in zip(
        images, crop.apply(images, drawn), *drawn, strict=True
    ):
        expected = tv.pad(image, [padding] * 4)
        expected = tv.crop(expected, int(top), int(left), height=5, width=4)
        assert torch.equal(result, expected)


def test_crops_larger_than_the_images() -> None:
    with pytest.raises(ValueError, match=r"\(8, 6\) pixels.*crops of \(9, 6\)"):
        RandomCrop(0, size=(9, 6)).draw(torch.rand(2, 3, 8, 6))


def test_centre_of_the_padded_image_is_the_image() -> None:
    images = torch.rand(4, 3, 8, 8)
    centre = torch.full((4,), 2)
    assert torch.equal(RandomCrop(2).apply(images, Corners(centre, centre)), images)


def test_corners_cover_their_range_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    for offsets in RandomCrop(4).draw(torch.zeros(9000, 3, 8, 8), generator):
        shares = offsets.bincount(minlength=9) / 9000
        assert len(shares) == 9
        assert ((shares - 1 / 9).abs() < 0.02).all()


def test_a_generator_on_another_device() -> None:
    images = torch.empty(2, 3, 4, 4, device="meta")
    with pytest.raises(
        ValueError, match=r"on cpu, the images are on meta; use torch\.Generator"
    ):
        RandomCrop(2).draw(images, torch.Generator())
