"""Weather: what must hold of snow, frost, fog and spatter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation import filters
from lightly_adv.evaluation.corruptions import create_corruption, weather
from tests.evaluation.corruptions.scenes import draws, smooth

FOG = create_corruption("fog").levels
SNOW = create_corruption("snow").levels
SPATTER = create_corruption("spatter").levels


def test_snow_without_flakes_pales_the_colours() -> None:
    images = smooth()
    found = weather.snow(images, draws(6), 0.1, 0.2, 1, math.inf, 8, 3, 0.9)
    gray = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    expected = 0.9 * images + 0.1 * torch.maximum(images, 1.5 * gray + 0.5)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("level", SNOW)
def test_flakes_are_white_and_fall_from_both_sides(level: tuple[float, ...]) -> None:
    black = torch.zeros(20, 3, 32, 32)
    flakes = weather.snow(black, draws(20), *level) - 0.5 * (1 - level[-1])
    torch.testing.assert_close(flakes, flakes.flip(2, 3))
    torch.testing.assert_close(flakes[:, 0], flakes[:, 2])
    assert flakes.min() > -1e-6
    assert flakes.flatten(1).amax(dim=1).min() > 0


def test_there_is_more_snow_at_higher_severities() -> None:
    black = torch.zeros(50, 1, 32, 32)
    found = [float(weather.snow(black, draws(50), *level).mean()) for level in SNOW]
    assert found == sorted(found)


def test_frost_is_a_mix_with_ice_that_does_not_see_the_image() -> None:
    images = smooth(20)
    ice = (weather.frost(images, draws(20), 0.85, 0.4) - 0.85 * images) / 0.4
    again = weather.frost(torch.zeros_like(images), draws(20), 1, 1)
    torch.testing.assert_close(ice, again, rtol=0, atol=1e-5)
    white = ice / torch.tensor(weather.ICE).view(3, 1, 1)
    torch.testing.assert_close(white[:, 0], white[:, 1])
    assert white.min() >= -1e-6
    assert white.max() <= 1 + 1e-6
    assert white.mean().item() == pytest.approx(0.6, abs=0.05)
    # Ice has structure: crystals and gaps in each image.
    assert white.flatten(1).std(dim=1).min() > 0.1


def cloud(images: Tensor, level: tuple[float, ...]) -> Tensor:
    """Return the cloud that was mixed in."""
    strength = level[0]
    top = images.flatten(1).amax(dim=1).view(-1, 1, 1, 1)
    foggy = weather.fog(images, draws(len(images)), *level)
    return (foggy * (top + strength) / top - images) / strength


@pytest.mark.parametrize("level", FOG)
@pytest.mark.parametrize("size", [(32, 32), (20, 41)])
def test_fog_is_a_mix_with_a_cloud(
    level: tuple[float, ...], size: tuple[int, int]
) -> None:
    found = cloud(smooth(5, *size), level)
    torch.testing.assert_close(found[:, 0], found[:, 2], rtol=0, atol=1e-4)
    assert found.min() > -1e-4
    assert found.max() < 1 + 1e-4
    if size == (32, 32):
        assert found.flatten(1).amin(dim=1).abs().max() < 1e-4
        assert (found.flatten(1).amax(dim=1) - 1).abs().max() < 1e-4


def test_fog_gets_rougher_with_the_published_decays() -> None:
    images = smooth(30)
    roughness = [float(cloud(images, level).diff(dim=3).abs().mean()) for level in FOG]
    assert roughness[0] == pytest.approx(roughness[1], rel=0.01)  # both have decay 3
    assert roughness[1:] == sorted(roughness[1:])


def test_fog_does_not_make_the_brightest_pixel_brighter() -> None:
    images = 0.6 * smooth()
    found = weather.fog(images, draws(6), 1.5, 1.75)
    brightest = images.flatten(1).amax(dim=1)
    assert bool((found.flatten(1).amax(dim=1) <= brightest + 1e-6).all())


@pytest.mark.parametrize("level", SPATTER[:3])
def test_water_adds_light_where_it_is(level: tuple[float, ...]) -> None:
    images = 0.3 * smooth(10)
    added = weather.spatter(images, draws(10), *level) - images
    turquoise = torch.tensor([175, 238, 238]).view(3, 1, 1) / 255
    white = added / turquoise
    torch.testing.assert_close(white[:, 0], white[:, 1], rtol=0, atol=1e-5)
    assert added.min() > -1e-6
    brightest = white.flatten(1).amax(dim=1)
    hit = brightest > 1e-6  # a few drops are so rare that some images have none
    torch.testing.assert_close(
        brightest[hit], torch.full_like(brightest[hit], 0.5), rtol=0, atol=1e-4
    )
    assert hit.float().mean() >= 0.7


def wet_share(level: tuple[float, ...], size: int) -> float:
    """Return the share of pixels that get darker or brighter."""
    images = torch.full((12, 3, size, size), 0.9)
    found = weather.spatter(images, draws(12), *level)
    return float((found != images).any(dim=1).float().mean())


def test_as_much_gets_wet_in_large_images() -> None:
    # Severity 3 of water; noise of std 0.3 smoothed by a Gaussian of std 1.
    k = torch.arange(-4, 5)
    weights = torch.exp(-(k**2) / 2)
    std = 0.3 * float((weights / weights.sum()).square().sum())
    expected = 0.5 * math.erfc((0.69 - 0.65) / std / math.sqrt(2))
    assert wet_share(SPATTER[2], 32) == pytest.approx(expected, abs=0.06)
    assert wet_share(SPATTER[2], 96) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("level", SPATTER[3:])
def test_mud_covers_what_is_below(level: tuple[float, ...]) -> None:
    bright, dark = torch.ones(10, 3, 32, 32), torch.zeros(10, 3, 32, 32)
    on_bright = weather.spatter(bright, draws(10), *level)
    on_dark = weather.spatter(dark, draws(10), *level)
    cover = 1 - (on_bright - on_dark)
    assert bool(((cover.abs() < 1e-5) | (cover >= 0.8 - 1e-5)).all())
    assert 0.005 < (cover > 0.5).float().mean() < 0.3
    brown = torch.tensor([63, 42, 20]).view(3, 1, 1) / 255
    torch.testing.assert_close(on_dark, cover * brown, rtol=0, atol=1e-5)


def test_gray_images_get_the_brightness_of_the_colours() -> None:
    gray = smooth()[:, :1]
    level = SPATTER[4]
    found = weather.spatter(gray, draws(6), *level)
    colour = weather.spatter(gray.expand(-1, 3, -1, -1), draws(6), *level)
    torch.testing.assert_close(found, filters.luma(colour), rtol=0, atol=1e-5)
