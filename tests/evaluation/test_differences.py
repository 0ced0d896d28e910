from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation.comparison import (
    PairedDifference,
    images_needed,
    paired_difference,
)


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


def test_seeds_are_averaged_image_by_image() -> None:
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


def flags(count: int, first: int, second: int) -> tuple[Tensor, Tensor]:
    """Return flags of two models, of which each alone gets some images right."""
    one, other = torch.zeros(2, count).bool()
    one[:first] = True
    other[first : first + second] = True
    return one, other


@pytest.mark.parametrize(
    ("first", "second"), [(60, 20), (0.16, 0.10), (0.06, 0.01), (0.3, 0.26)]
)
def test_with_the_images_needed_four_of_five_are_told(
    first: float, second: float
) -> None:
    count = 500
    only = [round(x * count) if x < 1 else int(x) for x in (first, second)]
    needed = images_needed(*flags(count, *only))
    assert needed is not None
    shares = torch.tensor([*only, count - sum(only)]) / count
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(
        shares.expand(1000, 3), needed, replacement=True, generator=generator
    )
    one, other = ((drawn == kind).double().mean(dim=1) for kind in (0, 1))
    mean = one - other
    spread = (one + other - mean**2).sqrt()
    told = (mean.abs() > 1.96 * spread / math.sqrt(needed)).double().mean()
    assert float(told) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("first", "second"), [(60, 20), (300, 260), (100, 0)])
def test_the_formula_for_the_test_of_mcnemar_takes_5_or_6_more(
    first: int, second: int
) -> None:
    needed = images_needed(*flags(1000, first, second))
    assert needed is not None
    unequal, told = (first + second) / 1000, (first - second) / 1000
    roots = 1.95996 * math.sqrt(unequal) + 0.84162 * math.sqrt(unequal - told**2)
    assert needed + 5 <= math.ceil((roots / told) ** 2) <= needed + 6


def test_a_difference_half_as_large_takes_four_times_as_many() -> None:
    one, other = flags(10_000, 800, 700)
    needed = images_needed(one, other)
    half = images_needed(one, other, difference=0.5)
    assert needed is not None
    assert half is not None
    assert half / needed == pytest.approx(4, rel=0.01)
    assert images_needed(other, one) == needed


def test_what_cannot_be_told_takes_no_number() -> None:
    assert images_needed(*flags(100, 5, 5)) is None
    assert images_needed(*flags(100, 0, 0), difference=1.0) is None
