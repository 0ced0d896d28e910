from __future__ import annotations

import math

import pytest
import torch

from lightly_adv.functional.frequencies import high_pass


def waves(size: int, *frequencies: int) -> torch.Tensor:
    places = torch.arange(size) * 2 * math.pi / size
    return torch.stack(
        [(places * f).cos().expand(size, size) for f in frequencies]
    ).sum(0)


def test_waves_below_the_radius_are_gone() -> None:
    found = high_pass(waves(32, 0, 7, 8, 11), 8)
    torch.testing.assert_close(found, waves(32, 8, 11), atol=1e-5, rtol=0)


def test_a_constant_image_is_gone_and_radius_0_changes_nothing() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert float(high_pass(torch.full((1, 3, 8, 8), 0.7), 1).abs().max()) < 1e-6
    torch.testing.assert_close(high_pass(images, 0), images)


def test_a_shifted_spectrum_gives_the_same() -> None:
    """As the public code computes it, with the middle of the spectrum at H / 2."""
    images = torch.rand(2, 3, 32, 32)
    shifted = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    places = torch.arange(32) - 16
    far = (places[:, None] ** 2 + places[None] ** 2).sqrt() >= 8
    back = torch.fft.ifftshift(shifted * far, dim=(-2, -1))
    torch.testing.assert_close(high_pass(images, 8), torch.fft.ifft2(back).real)


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="radius=-1"):
        high_pass(torch.rand(1, 4, 4), -1)
