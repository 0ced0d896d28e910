"""Draws belong to an image, not to the batch that it comes in."""

from __future__ import annotations

import pytest
import torch

from lightly_adv.evaluation.corruptions.draws import Draws

KEYS = [(0, 1), (0, 2), (5, 1)]


@pytest.mark.parametrize("row", range(3))
def test_a_image_gets_the_same_alone_and_in_company(row: int) -> None:
    def drawn(draws: Draws, rates: torch.Tensor) -> list[torch.Tensor]:
        return [
            draws.normal(2, 9),
            draws.uniform(-3, 4, 5),
            draws.integers(-2, 2, 7),
            draws.poisson(rates),
        ]

    rates = torch.linspace(0, 400, 3 * 20).view(3, 20)
    together = drawn(Draws(KEYS), rates)
    alone = drawn(Draws(KEYS[row : row + 1]), rates[row : row + 1])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[row : row + 1], one, rtol=0, atol=0)


def test_the_global_random_state_stays() -> None:
    before = torch.get_rng_state()
    Draws(KEYS).poisson(torch.ones(3, 4))
    assert torch.equal(before, torch.get_rng_state())


def test_ranges() -> None:
    draws = Draws([(0,)])
    numbers = draws.uniform(-45, 45, 10_000)
    assert -45 <= numbers.min() < -44
    assert 44 < numbers.max() < 45
    assert set(draws.integers(-1, 1, 1000).flatten().tolist()) == {-1, 0}
