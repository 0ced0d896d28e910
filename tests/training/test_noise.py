from __future__ import annotations

import itertools

import pytest
import torch

from lightly_adv.training.noise import training_generator


def draw(rank: int = 0, epoch: int = 0, batch_idx: int = 0) -> float:
    generator = training_generator(rank=rank, epoch=epoch, batch_idx=batch_idx)
    return torch.rand(1, generator=generator).item()


def test_every_place_has_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    places = list(itertools.product(range(2), repeat=3))
    assert len({draw(*place) for place in places}) == len(places)
    assert draw(1, 1, 1) == draw(1, 1, 1)


def test_the_seed_matters_and_the_global_state_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    first, state = draw(), torch.get_rng_state()
    torch.rand(1)
    assert draw() == first
    torch.set_rng_state(state)
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    assert draw() != first
    assert torch.equal(torch.get_rng_state(), state)


def test_without_seed_everything_the_seed_of_torch_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = draw()
        torch.manual_seed(2)
        assert draw() != first
