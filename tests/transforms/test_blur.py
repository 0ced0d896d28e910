from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from lightly_adv.transforms import GaussianBlur


@pytest.mark.parametrize("reach", [1, 3, 8])
@pytest.mark.parametrize("size", [(16, 16), (9, 20)])
def test_blur_equals_torchvision_image_by_image(
    reach: int, size: tuple[int, int]
) -> None:
    images = torch.rand(6, 3, *size)
    blur = GaussianBlur((0.1, 2.0), reach=reach)
    stds = blur.draw(images)
    for image, result, std in zip(images, blur.apply(images, stds), stds, strict=True):
        expected = tv.gaussian_blur(image, [2 * reach + 1] * 2, [float(std)] * 2)
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_the_kernel_reaches_four_standard_deviations() -> None:
    images, std = torch.rand(1, 3, 32, 32), torch.tensor([1.5])
    blurred = GaussianBlur((0.1, 2.0)).apply(images, std)
    assert torch.equal(blurred, GaussianBlur((0.1, 2.0), reach=8).apply(images, std))


def test_small_images_are_blurred_as_far_as_they_reach() -> None:
    images, std = torch.rand(1, 3, 4, 6), torch.tensor([2.0])
    expected = tv.gaussian_blur(images, [7, 7], [2.0, 2.0])
    found = GaussianBlur((0.1, 2.0)).apply(images, std)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_no_width_blurs_nothing() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(GaussianBlur((0.0, 2.0)).apply(images, torch.zeros(2)), images)
