"""Filters against SciPy, and against loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from lightly_adv.evaluation import filters
from tests.evaluation.corruptions.scenes import smooth


@pytest.mark.parametrize("std", [0.05, 0.4, 1.0, 3.3])
def test_gaussian_blur_is_that_of_scipy(std: float) -> None:
    images = smooth(2, 20, 33).double()
    expected = ndimage.gaussian_filter(
        images.numpy(), (0, 0, std, std), mode="nearest", truncate=4
    )
    found = filters.gaussian_blur(images, std)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.03, 1.25, 1.75, 2.25])
def test_zoom_is_that_of_scipy(factor: float) -> None:
    images = smooth(2, 32, 32).double()
    part = math.ceil(32 / factor)
    top = (32 - part) // 2
    middle = images[:, :, top : top + part, top : top + part].numpy()
    large = ndimage.zoom(middle, (1, 1, factor, factor), order=1)
    cut = (large.shape[2] - 32) // 2
    expected = large[:, :, cut : cut + 32, cut : cut + 32]
    found = filters.zoom(images, factor)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [-135.0, -90.0, -44.5, 0.0, 17.0, 45.0])
def test_motion_blur_is_a_weighted_mean_along_a_line(angle: float) -> None:
    image = smooth(1, 8, 11).double()
    radius, std = 4.2, 1.5
    weights = [math.exp(-k * k / (2 * std**2)) for k in range(2 * 5 + 1)]
    expected = torch.zeros_like(image)
    for k, weight in enumerate(weights):
        right = math.ceil(k * math.cos(math.radians(angle)) - 0.5)
        down = math.ceil(k * math.sin(math.radians(angle)) - 0.5)
        for y in range(8):
            for x in range(11):
                row, column = min(max(y + down, 0), 7), min(max(x + right, 0), 10)
                expected[..., y, x] += weight / sum(weights) * image[..., row, column]
    found = filters.motion_blur(image, torch.tensor([angle]), radius=radius, std=std)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_every_image_has_an_angle_of_its_own() -> None:
    images, angles = smooth(3), torch.tensor([-30.0, 0.0, 45.0])
    together = filters.motion_blur(images, angles, radius=6, std=2)
    for row in range(3):
        one = slice(row, row + 1)
        alone = filters.motion_blur(images[one], angles[one], radius=6, std=2)
        assert torch.equal(together[one], alone)


def test_luma_of_gray_is_gray() -> None:
    gray = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(filters.luma(gray.expand(-1, 3, -1, -1)), gray)
    assert filters.luma(gray) is gray


def test_a_displacement_of_one_pixel_takes_the_neighbour() -> None:
    images = smooth(4, 32, 32)
    right = torch.arange(32) + torch.ones(4, 32, 32)
    down = torch.arange(32)[:, None].expand(4, 32, 32)
    found = filters.displaced(images, right, down)
    torch.testing.assert_close(found[..., :-1], images[..., 1:], atol=1e-4, rtol=0)
    assert (found[..., -1] < 1e-4).all()


def test_clouds_without_noise_after_the_first_octave_are_means() -> None:
    noise = torch.zeros(1, 15)
    noise[0, 0] = 1.0  # the middle of the torus; all else are means of neighbours
    cloud = filters.diamond_square(noise, octaves=2)[0]
    assert cloud[2, 2] == 1
    assert cloud[0, 0] == 0
    torch.testing.assert_close(cloud, cloud.T)
