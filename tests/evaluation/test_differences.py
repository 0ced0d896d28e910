from __future__ import annotations

import math

import pytest
import torch

from lightly_adv.evaluation.differences import PairedDifference, paired_difference


def test_mean_is_the_difference_of_accuracies() -> None:
    first, second = torch.tensor([1, 1, 1, 0]), torch.tensor([1, 0, 0, 0])
    assert paired_difference(first, second).mean == pytest.approx(50.0)
    assert paired_difference(second, first).mean == pytest.approx(-50.0)


def test_interval_is_that_of_the_normal_approximation() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 4000, generator=generator) < torch.tensor(
        [[0.5], [0.4]]
    )
    found = paired_difference(first, second)
    points = 100 * (first.double() - second.double())
    half = 1.96 * float(points.std()) / math.sqrt(4000)
    assert found.low == pytest.approx(found.mean - half, abs=0.15)
    assert found.high == pytest.approx(found.mean + half, abs=0.15)


def test_pairing_makes_the_interval_narrow() -> None:
    right = torch.arange(1000) % 2 == 0
    better = right.clone()
    better[1::100] = True
    paired = paired_difference(better, right)
    shuffled = right[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    unpaired = paired_difference(better, shuffled)
    assert paired.resolved
    assert not unpaired.resolved
    assert paired.high - paired.low < 0.3 * (unpaired.high - unpaired.low)


def test_seeds_are_averaged_picture_by_picture() -> None:
    first = torch.tensor([[1, 0], [0, 1]])
    second = torch.zeros(2, 2)
    assert paired_difference(first, second) == PairedDifference(50.0, 50.0, 50.0)


def test_same_seed_same_interval() -> None:
    first, second = torch.rand(2, 100) < 0.5
    assert paired_difference(first, second) == paired_difference(first, second)


@pytest.mark.parametrize(
    ("first", "second"), [((3,), (4,)), ((2, 3), (3,)), ((0,), (0,)), ((1, 2, 3),) * 2]
)
def test_other_shapes_are_refused(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"expected \(N,\) or \(seeds, N\)"):
        paired_difference(torch.zeros(first), torch.zeros(second))
