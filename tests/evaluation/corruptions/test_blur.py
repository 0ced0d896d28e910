"""Blurs against SciPy and against what must hold of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from lightly_adv.evaluation.corruptions import blur, create_corruption
from tests.evaluation.corruptions.scenes import draws, smooth


@pytest.mark.parametrize("level", create_corruption("defocus_blur").levels)
@pytest.mark.parametrize("size", [32, 96])
def test_defocus_is_a_disk_with_soft_edges(
    level: tuple[float, float], size: int
) -> None:
    radius, softness = (each * size / 32 for each in level)
    end = round(size / 32)
    reach = int(radius) + end
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype(float)
    k = np.arange(-end, end + 1)
    soft = np.exp(-(k**2) / (2 * softness**2))
    kernel = ndimage.convolve(disk, np.outer(soft, soft), mode="constant")
    images = smooth(2, size, size).double()
    expected = ndimage.convolve(
        images.numpy(), kernel[None, None] / kernel.sum(), mode="nearest"
    )
    found = blur.defocus(images, draws(2), *level).numpy()
    inside = (..., slice(reach, -reach), slice(reach, -reach))
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-12)


def test_glass_takes_pixels_from_above_and_from_the_left() -> None:
    places = torch.arange(32 * 32.0).view(1, 1, 32, 32).expand(4, -1, -1, -1)
    found = blur.glass(places, draws(4), 0.05, 1, 1)
    row, column = torch.arange(32).view(-1, 1), torch.arange(32)
    down, right = found // 32 - row, found % 32 - column
    inside = (..., slice(1, None), slice(1, None))
    for moved in (down[inside], right[inside]):
        assert set(moved.flatten().tolist()) == {-1, 0}
        assert moved.mean().item() == pytest.approx(-0.5, abs=0.05)
    assert not torch.equal(found[0], found[1])


def test_glass_moves_twice_as_often_and_farther_in_large_images() -> None:
    places = torch.arange(96.0).view(1, 1, 96, 1).expand(1, 1, 96, 96)

    def distance(rounds: int) -> float:
        found = blur.glass(places, draws(1), 0.01, 1, rounds)
        return float((found - places).abs().max())

    assert distance(1) == 3
    assert 3 < distance(2) <= 6


def test_motion_keeps_plain_images_and_their_mean() -> None:
    plain = torch.full((3, 3, 32, 32), 0.4)
    torch.testing.assert_close(blur.motion(plain, draws(3), 9, 2.5), plain)
    point = torch.zeros(8, 1, 32, 32)
    point[:, :, 16, 20] = 1
    found = blur.motion(point, draws(8), 9, 2.5)
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), torch.ones(8))
    # The point is seen from the pixels to the left of it, at most 45 degrees away.
    for image in found[:, 0]:
        rows, columns = image.nonzero().unbind(1)
        assert bool((columns <= 20).all())
        assert bool(((rows - 16).abs() <= 20 - columns + 1).all())


def test_zoom_is_the_mean_of_enlarged_images() -> None:
    images = smooth(1).double()
    total = images.numpy().copy()
    for factor in np.arange(1, 1.11, 0.01):  # the published zooms of severity 2
        part = math.ceil(32 / factor)
        top = (32 - part) // 2
        middle = images[..., top : top + part, top : top + part].numpy()
        large = ndimage.zoom(middle, (1, 1, factor, factor), order=1)
        cut = (large.shape[2] - 32) // 2
        total += large[..., cut : cut + 32, cut : cut + 32]
    (steps,) = create_corruption("zoom_blur").levels[1]
    found = blur.zoom(images, draws(1), int(steps))
    np.testing.assert_allclose(found.numpy(), total / 13, atol=1e-12)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_the_zooms_are_the_published_ones(severity: int) -> None:
    end = [1.06, 1.11, 1.16, 1.21, 1.26][severity - 1]
    (steps,) = create_corruption("zoom_blur").levels[severity - 1]
    assert steps == len(np.arange(1, end, 0.01))


def test_gaussian_is_that_of_scipy_and_grows_with_the_image() -> None:
    images = smooth(1, 64, 64).double()
    expected = ndimage.gaussian_filter(
        images.numpy(), (0, 0, 1.6, 1.6), mode="nearest", truncate=4
    )
    found = blur.gaussian(images, draws(1), 0.8)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
