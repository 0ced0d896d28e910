"""The measures against loops over images, written from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation.encoders import distances, measures
from lightly_adv.evaluation.encoders.distances import Distance

DISTANCES = get_args(Distance)


def far(first: Tensor, second: Tensor, distance: str) -> float:
    one: list[float] = first.tolist()
    other: list[float] = second.tolist()
    if distance == "l2":
        return math.dist(one, other)
    dot = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return 1 - dot / (math.hypot(*one) * math.hypot(*other))


@pytest.fixture
def clean() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(11, 4, generator=generator)


@pytest.fixture
def attacked(clean: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return clean + 0.9 * torch.randn(clean.shape, generator=generator)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances(clean: Tensor, attacked: Tensor, distance: Distance) -> None:
    expected = [far(a, b, distance) for a, b in zip(clean, attacked, strict=True)]
    found = distances.between(clean, attacked, distance)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_table_comes_in_parts(
    clean: Tensor,
    attacked: Tensor,
    distance: Distance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distances, "_ROWS", 4)
    parts = list(distances.table(clean, attacked, distance))
    assert [len(rows) for rows, _ in parts] == [4, 4, 3]
    for rows, found in parts:
        for row, values in zip(rows.tolist(), found.tolist(), strict=True):
            expected = [far(clean[row], other, distance) for other in attacked]
            assert values == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_breakaway(clean: Tensor, attacked: Tensor, distance: Distance) -> None:
    count = len(clean)
    expected = []
    for i in range(count):
        own = far(attacked[i], clean[i], distance)
        nearer = [
            far(attacked[i], clean[j], distance) < own for j in range(count) if j != i
        ]
        expected.append(sum(nearer) / (count - 1))
    found = measures.breakaway(clean, attacked, distance)
    assert found.tolist() == pytest.approx(expected)
    assert 0 < sum(expected) < count


@pytest.mark.parametrize("distance", DISTANCES)
def test_relative_quantile(clean: Tensor, attacked: Tensor, distance: Distance) -> None:
    count = len(clean)
    expected = []
    for i in range(count):
        drift = far(clean[i], attacked[i], distance)
        nearer = [
            far(clean[i], clean[j], distance) < drift for j in range(count) if j != i
        ]
        expected.append(sum(nearer) / (count - 1))
    found = measures.relative_quantile(clean, attacked, distance)
    assert found.tolist() == pytest.approx(expected)
    assert 0 < sum(expected) < count


def overlap(
    clean: Tensor, attacked: Tensor, partners: Tensor, distance: Distance
) -> Tensor:
    moved = distances.between(clean, attacked, distance)
    reached = distances.between(clean[partners], attacked, distance)
    return measures.overlap(moved, reached, partners)


@pytest.mark.parametrize("distance", DISTANCES)
def test_overlap(clean: Tensor, attacked: Tensor, distance: Distance) -> None:
    partners = measures.match(clean, generator=torch.Generator().manual_seed(2))
    expected = []
    for i, partner in enumerate(partners.tolist()):
        if partner >= 0:
            own = far(clean[i], attacked[i], distance)
            expected.append(far(clean[i], attacked[partner], distance) < own)
    found = overlap(clean, attacked, partners, distance)
    assert found.tolist() == expected
    assert len(expected) == 10  # of 11 images one has no partner


def test_overlap_where_it_is_and_where_it_is_not() -> None:
    clean = torch.tensor([[0.0, 1.0], [4.0, 1.0], [20.0, 1.0], [30.0, 1.0]])
    partners = torch.tensor([1, 0, 3, 2])
    # The first two can be led past each other, the others cannot.
    attacked = clean + torch.tensor([[3.0, 0.0], [-3.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    found = overlap(clean, attacked, partners, "l2")
    assert found.tolist() == [True, True, False, False]


@pytest.mark.parametrize("measure", [measures.breakaway, measures.relative_quantile])
@pytest.mark.parametrize("distance", DISTANCES)
def test_nothing_moves_without_an_attack(
    clean: Tensor, distance: Distance, measure: Callable[..., Tensor]
) -> None:
    twice = torch.cat([clean, clean[:3]])  # equal images are not nearer
    assert not measure(twice, twice, distance).any()


@pytest.mark.parametrize("pairs", get_args(measures.Pairs))
@pytest.mark.parametrize("count", [2, 3, 10, 11])
def test_partners_are_mutual(pairs: measures.Pairs, count: int) -> None:
    embeddings = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    partners = measures.match(
        embeddings, generator=torch.Generator().manual_seed(0), pairs=pairs
    )
    alone = [i for i, partner in enumerate(partners.tolist()) if partner < 0]
    assert len(alone) == count % 2
    for i, partner in enumerate(partners.tolist()):
        assert partner < 0 or (partners[partner] == i and partner != i)


def test_near_partners_are_near() -> None:
    # Five couples far from each other: each finds its own.
    centres = 100 * torch.eye(5).repeat_interleave(2, dim=0)
    noise = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    partners = measures.match(
        centres + noise,
        generator=torch.Generator().manual_seed(3),
        pairs="nearest",
        distance="l2",
    )
    assert partners.tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]


def test_refusals() -> None:
    one, generator = torch.ones(1, 3), torch.Generator()
    for measure in (measures.breakaway, measures.relative_quantile):
        with pytest.raises(ValueError, match="there is 1 image; expected at least"):
            measure(one, one)
    with pytest.raises(ValueError, match="there is 1 image; expected at least"):
        measures.match(one, generator=generator)
    with pytest.raises(ValueError, match="pairs='near' is unknown"):
        measures.match(torch.ones(2, 3), generator=generator, pairs="near")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="distance='l1' is unknown"):
        distances.check("l1")
