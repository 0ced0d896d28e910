from __future__ import annotations

import pytest
import torch

from lightly_adv.data import splits

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[
    torch.randperm(100, generator=torch.Generator().manual_seed(0))
]


def test_split_is_stratified_and_complete() -> None:
    rest, held_out = splits.split(LABELS, fraction=0.1, seed=0)
    assert LABELS[held_out].bincount().tolist() == [5, 3, 2]
    assert torch.cat([rest, held_out]).sort().values.tolist() == list(range(100))


def test_split_nothing() -> None:
    rest, held_out = splits.split(LABELS, fraction=0.0, seed=0)
    assert (len(rest), len(held_out)) == (100, 0)


def test_split_leaves_something_of_every_class() -> None:
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    rest, held_out = splits.split(labels, fraction=0.9, seed=0)
    assert labels[rest].tolist() == [0, 1, 2]
    assert labels[held_out].tolist() == [1, 2, 2]


def test_split_takes_something_of_every_class() -> None:
    _, held_out = splits.split(LABELS, fraction=0.001, seed=0)
    assert LABELS[held_out].bincount().tolist() == [1, 1, 1]


def test_seed_decides_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (
        splits.split(LABELS, fraction=0.2, seed=seed)[1] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("fraction", "counts"), [(1.0, [50, 30, 20]), (0.1, [5, 3, 2]), (1e-6, [1, 1, 1])]
)
def test_fraction_of_every_class(fraction: float, counts: list[int]) -> None:
    picked = splits.subsample_classes(LABELS, fraction=fraction, seed=0)
    assert LABELS[picked].bincount().tolist() == counts


@pytest.mark.parametrize(("count", "counts"), [(30, [10, 10, 10]), (5, [2, 2, 1])])
def test_balanced_count(count: int, counts: list[int]) -> None:
    picked = splits.pick_balanced(LABELS, count=count, seed=0)
    assert LABELS[picked].bincount().tolist() == counts
    assert picked.tolist() == sorted(set(picked.tolist()))


def test_more_labels_contain_fewer() -> None:
    few = splits.pick_balanced(LABELS, count=6, seed=4).tolist()
    more = splits.pick_balanced(LABELS, count=20, seed=4).tolist()
    assert set(few) < set(more)
    small = splits.subsample_classes(LABELS, fraction=0.1, seed=4).tolist()
    large = splits.subsample_classes(LABELS, fraction=0.5, seed=4).tolist()
    assert set(small) < set(large)


def test_too_few_labels_for_the_classes() -> None:
    with pytest.raises(ValueError, match="num_labelled=2 is less than the 3 classes"):
        splits.pick_balanced(LABELS, count=2, seed=0)


def test_too_many_labels_for_a_class() -> None:
    with pytest.raises(ValueError, match=r"asks for 21 .* class 2 has 20 to train on"):
        splits.pick_balanced(LABELS, count=63, seed=0)


@pytest.mark.parametrize(
    ("fraction", "count"), [(1, 100), (0.5, 50), (0.014, 1), (1e-9, 1)]
)
def test_any_images(fraction: float, count: int) -> None:
    picked = splits.subsample(100, fraction=fraction, seed=0).tolist()
    assert len(picked) == count
    assert picked == sorted(set(picked))
    assert set(picked) <= set(range(100))


def test_more_of_any_images_contain_fewer() -> None:
    few, more = (splits.subsample(100, fraction=f, seed=4).tolist() for f in (0.1, 0.3))
    assert set(few) < set(more)
    assert few != splits.subsample(100, fraction=0.1, seed=5).tolist()


def test_every_beginning_has_all_classes() -> None:
    labels = LABELS.sort().values  # as the images in class folders come
    order = splits.interleave_classes(labels)
    assert order.sort().values.tolist() == list(range(100))
    for count in range(1, 101):
        found = labels[order[:count]].bincount(minlength=3)
        expected = count * torch.tensor([0.5, 0.3, 0.2])
        assert (found - expected).abs().max() <= 1
    for label in range(3):
        members = order[labels[order] == label]
        assert torch.equal(members, members.sort().values)


def test_there_may_be_numbers_without_a_image() -> None:
    labels = torch.tensor([3, 3, 1])
    assert labels[splits.interleave_classes(labels)].tolist() == [3, 1, 3]
    assert splits.interleave_classes(labels[:0]).tolist() == []
