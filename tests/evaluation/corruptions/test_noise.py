"""The moments of noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation.corruptions import noise
from tests.evaluation.corruptions.scenes import draws


def gray(value: float) -> Tensor:
    return torch.full((20, 3, 32, 32), value)


@pytest.mark.parametrize("value", [0.2, 0.7])
def test_gaussian_has_one_spread_for_all_values(value: float) -> None:
    found = noise.gaussian(gray(value), draws(20), 0.08) - value
    assert found.mean().abs() < 0.002
    assert found.std().item() == pytest.approx(0.08, rel=0.02)
    # Three sigma are passed by 0.27 % of what is normal.
    assert (found.abs() > 0.24).float().mean().item() == pytest.approx(0.0027, abs=1e-3)


@pytest.mark.parametrize("value", [0.2, 0.7])
def test_speckle_grows_with_the_value(value: float) -> None:
    found = noise.speckle(gray(value), draws(20), 0.2) - value
    assert found.std().item() == pytest.approx(0.2 * value, rel=0.02)


@pytest.mark.parametrize(("value", "photons"), [(0.2, 500), (0.7, 50), (0.0, 50)])
def test_shots_are_counted(value: float, photons: float) -> None:
    found = noise.shot(gray(value), draws(20), photons)
    counts = found * photons
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-3)
    assert found.mean().item() == pytest.approx(value, abs=0.002)
    assert found.var().item() == pytest.approx(value / photons, rel=0.03, abs=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.07])
def test_impulses_are_as_often_salt_as_pepper(share: float) -> None:
    found = noise.impulse(gray(0.3), draws(20), share)
    spread = 4 * (share / 2 / found.numel()) ** 0.5
    assert (found == 0).float().mean().item() == pytest.approx(share / 2, abs=spread)
    assert (found == 1).float().mean().item() == pytest.approx(share / 2, abs=spread)
    rest = found[(found > 0) & (found < 1)]
    assert bool((rest == torch.tensor(0.3)).all())


def test_channels_and_images_differ() -> None:
    found = noise.gaussian(gray(0.5), draws(20), 0.1)
    values = found.flatten(2).flatten(0, 1)
    correlations = torch.corrcoef(values) - torch.eye(60)
    assert correlations.abs().max() < 0.2
