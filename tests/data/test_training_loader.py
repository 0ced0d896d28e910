from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv.data.training_loader import TrainingSampler
from tests.data.test_datamodule import Toy

Batch = tuple[Tensor, Tensor]


def loader(workers: int = 0, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    return Toy(batch_size=8, num_workers=workers).train_dataloader()


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_epochs_differ_and_repeat() -> None:
    found, again = loader(), loader()
    first, second = list(found), list(found)
    assert not same(first, second)
    again.sampler.set_epoch(1)
    assert same(list(again), second)
    assert not same(list(loader(seed=4)), first)


def test_workers_change_nothing() -> None:
    plain, other = loader(), loader(workers=2)
    for _ in range(2):
        assert same(list(plain), list(other))


def test_nothing_is_drawn_from_the_global_generator() -> None:
    found = loader()
    before = torch.get_rng_state()
    list(found)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("given", [1, 5, 13])
def test_a_state_goes_on_where_it_was_taken(workers: int, given: int) -> None:
    whole, stopped, resumed = loader(), loader(workers), loader(workers)
    first, second = list(whole), list(whole)
    batches = iter(stopped)
    for _ in range(given):
        next(batches)
    resumed.load_state_dict(stopped.state_dict())
    assert len(first) == len(resumed) == 13
    rest = first[given:] or second
    assert same(list(resumed), rest)


def test_what_is_skipped_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loader()
    asked: list[int] = []
    inner = found.dataset.__getitems__

    def count(self: Any, batch: Any) -> Any:
        asked.append(len(batch))
        return inner(batch)

    monkeypatch.setattr(type(found.dataset), "__getitems__", count)
    found.load_state_dict({"epoch": 2, "batches": 11})
    list(found)
    assert asked == [8, 8]


def test_the_shares_of_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    orders = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(rank)  # processes need not be seeded alike
        orders.append([draw.image for draw in TrainingSampler(7)])
    assert [len(order) for order in orders] == [4, 4]
    assert sorted({*orders[0], *orders[1]}) == list(range(7))
