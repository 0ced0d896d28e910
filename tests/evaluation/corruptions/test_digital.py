"""Digital changes against PIL, colorsys and NumPy."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightly_adv.evaluation.corruptions import create_corruption, digital
from tests.evaluation.corruptions.scenes import draws, smooth

# Of other sizes, pixels lie on the border of two blocks, and PIL rounds somehow.
SIZES = [(32, 32), (38, 44), (64, 44)]


def to_pil(image: Tensor) -> Image.Image:
    values = (255 * image).round().byte().permute(1, 2, 0)
    return Image.fromarray(values.numpy())


def from_pil(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def with_extremes() -> Tensor:
    """Return images that also hold black, white, gray and pure colours."""
    images = smooth(2, 8, 8)
    colors = [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 0.25, 0), (0, 1, 1)]
    for column, color in enumerate(colors):
        images[:, :, 0, column] = torch.tensor(color).float()
    return images


def in_hsv(images: Tensor, *, saturation: tuple[float, float], value: float) -> Tensor:
    """Change pixels one by one: saturation * factor + more, value + more."""
    found = images.permute(0, 2, 3, 1).double().numpy().copy()
    for place in np.ndindex(found.shape[:3]):
        h, s, v = colorsys.rgb_to_hsv(*found[place])
        s = min(max(s * saturation[0] + saturation[1], 0), 1)
        found[place] = colorsys.hsv_to_rgb(h, s, min(v + value, 1))
    return torch.from_numpy(found).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("level", create_corruption("brightness").levels)
def test_brightness_is_the_value_in_hsv(level: tuple[float]) -> None:
    images = with_extremes()
    found = digital.brightness(images, draws(2), *level)
    expected = in_hsv(images, saturation=(1, 0), value=level[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", create_corruption("saturate").levels)
def test_saturate_is_the_saturation_in_hsv(level: tuple[float, float]) -> None:
    images = with_extremes()
    found = digital.saturate(images, draws(2), *level)
    expected = in_hsv(images, saturation=level, value=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", create_corruption("contrast").levels)
def test_contrast_keeps_the_mean_and_scales_the_spread(level: tuple[float]) -> None:
    images = smooth()
    found = digital.contrast(images, draws(6), *level).double().numpy()
    plain = images.double().numpy()
    np.testing.assert_allclose(found.mean((2, 3)), plain.mean((2, 3)), atol=1e-6)
    np.testing.assert_allclose(
        found.std((2, 3)), level[0] * plain.std((2, 3)), atol=1e-6
    )


@pytest.mark.parametrize("level", create_corruption("jpeg_compression").levels)
@pytest.mark.parametrize("size", SIZES)
def test_jpeg_is_that_of_pil(level: tuple[int], size: tuple[int, int]) -> None:
    images = smooth(2, *size)
    found = digital.jpeg(images, draws(2), *level)
    for image, compressed in zip(images, found, strict=True):
        buffer = io.BytesIO()
        to_pil(image).save(buffer, "JPEG", quality=level[0])
        expected = from_pil(Image.open(buffer))
        torch.testing.assert_close(compressed, expected)


@pytest.mark.parametrize("level", create_corruption("pixelate").levels)
@pytest.mark.parametrize("size", SIZES)
def test_pixelate_is_box_of_pil(level: tuple[float], size: tuple[int, int]) -> None:
    images = smooth(2, *size)
    share = 1 / (1 + (1 / level[0] - 1) * min(size) / 32) + 1e-9
    assert size != (32, 32) or int(32 * share) == int(32 * level[0])
    found = digital.pixelate(images, draws(2), *level)
    height, width = size
    for image, blocks in zip(images, found, strict=True):
        small = to_pil(image).resize(
            (int(width * share), int(height * share)), Image.Resampling.BOX
        )
        large = small.resize((width, height), Image.Resampling.BOX)
        # PIL rounds to 8 bits after each side.
        torch.testing.assert_close(blocks, from_pil(large), rtol=0, atol=1.6 / 255)


@pytest.mark.parametrize(("severity", "blocks"), [(1, 163), (3, 100), (5, 46)])
def test_blocks_of_large_images(severity: int, blocks: int) -> None:
    ramp = torch.arange(224.0).expand(1, 1, 224, 224)
    found = digital.pixelate(
        ramp, draws(1), *create_corruption("pixelate").levels[severity - 1]
    )
    # Published for ImageNet-C: shares of 0.6, 0.4 and 0.25, which are 134, 89 and 56.
    assert len(set(found[0, 0, 0].tolist())) == blocks


def coordinates(size: int) -> Tensor:
    """Return an image whose channels tell column and row of each pixel."""
    ramp = torch.arange(float(size)).expand(size, size)
    return torch.stack([ramp, ramp.T, torch.zeros_like(ramp)])


def displacements(level: tuple[float, ...], size: int, count: int = 20) -> Tensor:
    """Return from where the pixels come, less where they are, away from the edge."""
    places = coordinates(size)
    found = digital.elastic(places.repeat(count, 1, 1, 1), draws(count), *level)
    cut = size // 4
    return (found - places)[:, :2, cut:-cut, cut:-cut]


def test_elastic_without_strength_is_a_shear() -> None:
    found = displacements((0, 0, 0.08), 32)
    assert found.abs().mean() > 0.5
    # The second differences of an affine map are zero.
    assert found.diff(n=2, dim=2).abs().max() < 1e-4
    assert found.diff(n=2, dim=3).abs().max() < 1e-4


def test_the_shear_moves_three_points_as_far_as_allowed() -> None:
    drawn = draws(5).uniform(-1, 1, 3, 2)
    matrix = digital._shear(drawn, 2.56, 32, 32)
    start = torch.tensor([[26.0, 26], [26, 6], [6, 6]]).double()
    end = torch.cat([start + 2.56 * drawn.double(), torch.ones(5, 3, 1)], dim=2)
    torch.testing.assert_close(end @ matrix, start.expand(5, 3, 2))


@pytest.mark.parametrize("level", create_corruption("elastic_transform").levels)
def test_elastic_goes_as_far_in_large_images(level: tuple[float, ...]) -> None:
    small, large = (float(displacements(level, size).std()) for size in (32, 96))
    assert large == pytest.approx(3 * small, rel=0.25)


def test_waves_have_the_published_height() -> None:
    # Severity 5: uniform noise, smoothed by 0.96 pixels, times 3.2 pixels.
    k = torch.arange(-4, 5)
    weights = torch.exp(-0.5 * (k / 0.96) ** 2)
    damping = float((weights / weights.sum()).square().sum())
    found = displacements((0.1, 0.03, 0), 32, count=40)
    assert float(found.std()) == pytest.approx(3.2 * damping / 3**0.5, rel=0.05)


def test_elastic_without_anything_changes_nothing() -> None:
    images = smooth()
    found = digital.elastic(images, draws(6), 0, 0, 0)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-5)
