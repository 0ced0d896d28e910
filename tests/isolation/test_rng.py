from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lightly_adv.isolation import rng


def test_batch_generators_differ_by_every_part_of_the_key() -> None:
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    drawn = {float(torch.rand((), generator=rng.batch_generator(*key))) for key in keys}
    assert len(drawn) == len(keys)


def test_batch_generators_take_large_seeds() -> None:
    assert rng.batch_generator(2**64 - 1, 0) is not None


@pytest.mark.parametrize("fails", [False, True])
def test_forked_restores_all_streams(fails: bool) -> None:
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = torch.rand(2), random.random(), np.random.rand()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    try:
        with rng.forked():
            rng.reseed(2**40)
            torch.rand(5), random.random(), np.random.rand()
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.rand(2), expected[0])
    assert random.random() == expected[1]
    assert np.random.rand() == expected[2]


def test_private_generators_follow_state_and_views_without_drawing() -> None:
    state = torch.get_rng_state()
    views = [torch.rand(2, 3, generator=torch.Generator().manual_seed(0))]

    def draw() -> float:
        return float(torch.rand((), generator=rng.private_generator(views)))

    first = draw()
    assert draw() == first
    assert torch.equal(state, torch.get_rng_state())
    views[0] = views[0] + 1
    assert draw() != first
