from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from lightly_adv.isolation import rng
from lightly_adv.training import noise
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


def test_noise_that_is_not_to_be_waited_for_follows_the_number_of_the_batch() -> None:
    there = [torch.empty(2, 3, 4, 4, device="meta")]  # which has no content to read
    seeds = [
        rng.private_generator(there, number=number).initial_seed()
        for number in (0, 1, 0)
    ]
    assert seeds[0] == seeds[2] != seeds[1]
    here = [torch.rand(2, 3, 4, 4)]
    plain = rng.private_generator(here).initial_seed()
    assert rng.private_generator(here, number=1).initial_seed() == plain


def test_devices_without_generators_get_the_noise_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    assert rng.near(generator, torch.device("meta")) is generator
    assert torch.equal(generator.get_state(), state)


class Elsewhere:
    """Stands for a generator of a device whose numbers nobody may read."""

    device = torch.device("meta")

    def __init__(self) -> None:
        self.offset = 0

    def get_state(self) -> torch.Tensor:
        return torch.tensor([7, self.offset], dtype=torch.uint8)


def test_seeds_are_not_read_from_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def rand(*_: Any, generator: Any, device: torch.device) -> torch.Tensor:
        generator.offset += 1
        return torch.empty((), device=device)

    monkeypatch.setattr(torch, "rand", rand)
    source: Any = Elsewhere()
    again: Any = Elsewhere()
    first, second = noise.seeds(source), noise.seeds(source)
    drawn = [first(), first(), second()]
    assert len(set(drawn)) == 3
    assert noise.seeds(again)() == drawn[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_seeds_of_a_gpu_wait_for_nothing() -> None:
    source = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert noise.seeds(source)() != noise.seeds(source)()
    finally:
        torch.cuda.set_sync_debug_mode("default")
