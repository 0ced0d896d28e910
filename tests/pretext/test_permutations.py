from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch

from lightly_adv.pretext.permutations import Selection, draw_permutations


def distances(orders: torch.Tensor) -> torch.Tensor:
    """Hamming distances between all permutations and the identity, upper triangle."""
    everything = [list(range(orders.shape[1])), *orders.tolist()]
    return torch.tensor(
        [
            sum(a != b for a, b in zip(one, other, strict=True))
            for index, one in enumerate(everything)
            for other in everything[:index]
        ]
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("selection", ["random", "hamming"])
@pytest.mark.parametrize(("length", "count"), [(2, 1), (4, 5), (9, 30), (16, 30)])
def test_distinct_permutations_without_the_identity(
    selection: Selection, length: int, count: int
) -> None:
    drawn = draw_permutations(length, count, selection=selection, generator=seeded())
    assert drawn.shape == (count, length)
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(length).expand_as(drawn))
    assert distances(drawn).min() > 0


@pytest.mark.parametrize("selection", ["random", "hamming"])
def test_all_there_are_can_be_asked_for(selection: Selection) -> None:
    drawn = draw_permutations(4, 23, selection=selection)
    expected = set(permutations(range(4))) - {(0, 1, 2, 3)}
    assert {tuple(each) for each in drawn.tolist()} == expected


def test_random_ones_are_uniform() -> None:
    generator = seeded()
    first = [draw_permutations(3, 2, generator=generator)[0] for _ in range(1000)]
    counts = Counter(tuple(each.tolist()) for each in first)
    assert len(counts) == 5
    # Chi-square with 4 degrees of freedom: above 18.5 once in a thousand times.
    assert sum((count - 200) ** 2 for count in counts.values()) / 200 < 18.5


def test_hamming_ones_are_farther_apart() -> None:
    near = distances(draw_permutations(9, 30, generator=seeded())).min()
    drawn = draw_permutations(9, 30, selection="hamming", generator=seeded())
    assert distances(drawn).min() >= 7 > near
    # Nothing is farther from the identity than a permutation without a fixed point.
    assert distances(drawn[:1]).item() == 9


def test_the_generator_decides() -> None:
    before = torch.get_rng_state()
    first, again = (draw_permutations(16, 30, generator=seeded(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_permutations(16, 30, generator=seeded(2)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("length", "count", "message"),
    [
        (4, 24, r"24 permutations of 4 things, but there are 23 beside the identity"),
        (1, 1, r"1 permutations of 1 things, but there are 0 beside the identity"),
        (4, 0, r"0 permutations of 4 things.*ask for at least one"),
    ],
)
def test_impossible_numbers_are_refused(length: int, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_permutations(length, count)


def test_unknown_selection_is_refused() -> None:
    with pytest.raises(ValueError, match=r"selection='far'.*'random'"):
        draw_permutations(4, 2, selection="far")  # type: ignore[arg-type]
