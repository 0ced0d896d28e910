from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from lightly_adv.training.views import select_views
from lightly_adv.types import NormalizeStats

STATS: NormalizeStats = {"mean": [0.5] * 3, "std": [0.5] * 3}
LARGE, SMALL = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)
LABELS = torch.arange(2)
GRID, MASK = torch.rand(2, 7, 7, 2), torch.rand(2, 1, 8, 8)
TILES = torch.rand(2, 9, 3, 4, 4)


class Batch(NamedTuple):
    views: list[torch.Tensor]
    label: torch.Tensor


@pytest.mark.parametrize(
    "batch",
    [
        ([LARGE, SMALL], torch.arange(2), ["a", "b"]),
        [[LARGE, SMALL], GRID, MASK, [3, 1, 2]],
        {
            "views": (LARGE, SMALL),
            "masks": MASK,
            "index": torch.zeros(2, 3, 4, 4).long(),
        },
        Batch([LARGE, SMALL], torch.arange(2)),
    ],
)
def test_images_are_found_in_any_nesting(batch: Any) -> None:
    selected = select_views(batch, policy=None, normalize=STATS)
    assert [id(view) for view in selected.views] == [id(LARGE), id(SMALL)]
    again = selected.replace(selected.views)
    assert type(again) is type(batch)
    assert str(again) == str(batch)


def test_others_take_their_place_and_the_batch_stays() -> None:
    batch = ([LARGE, SMALL], GRID)
    new = [LARGE + 1, SMALL + 1]
    replaced = select_views(batch, policy=None, normalize=STATS).replace(new)
    assert replaced[0][0] is new[0]
    assert replaced[0][1] is new[1]
    assert replaced[1] is GRID
    assert batch[0][0] is LARGE


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("global", [LARGE]),
        ([1], [SMALL]),
        ([1, 0], [SMALL, LARGE]),
        (lambda batch: batch[0][:1], [LARGE]),
    ],
)
def test_policies(policy: Any, expected: list[torch.Tensor]) -> None:
    selected = select_views(([LARGE, SMALL],), policy=policy, normalize=None)
    assert [id(view) for view in selected.views] == [id(view) for view in expected]


def test_a_tensor_that_is_there_twice_is_one_view() -> None:
    selected = select_views([[LARGE], [LARGE, SMALL]], policy=None, normalize=None)
    assert [id(view) for view in selected.views] == [id(LARGE), id(SMALL)]
    new = LARGE + 1
    replaced = selected.replace([new, SMALL])
    assert replaced[0][0] is new
    assert replaced[1][0] is new


def test_grey_images_are_views() -> None:
    view = torch.rand(2, 1, 8, 8)
    selected = select_views([view, GRID], policy=None, normalize=None)
    assert [id(each) for each in selected.views] == [id(view)]


def test_each_view_of_a_stack_is_a_sample() -> None:
    selected = select_views([TILES, GRID], policy=None, normalize=None)
    assert torch.equal(selected.views[0], TILES.flatten(0, 1))
    assert torch.equal(selected.replace([selected.views[0] + 1])[0], TILES + 1)


@pytest.mark.parametrize("normalize", [None, STATS])
@pytest.mark.parametrize("other", [MASK, GRID, torch.rand(2, 3, 3, 2)])
def test_what_lies_beside_images_is_none(
    other: torch.Tensor, normalize: NormalizeStats | None
) -> None:
    selected = select_views([other, LARGE], policy=None, normalize=normalize)
    assert [id(view) for view in selected.views] == [id(LARGE)]
    assert selected.replace([SMALL])[0] is other


@pytest.mark.parametrize("policy", ["global", [1], lambda batch: batch[1:2]])
def test_all_images_are_known_beside_those_selected(policy: Any) -> None:
    selected = select_views([LARGE, SMALL, GRID], policy=policy, normalize=None)
    assert len(selected.views) == 1
    assert [id(view) for view in selected.images] == [id(LARGE), id(SMALL)]


@pytest.mark.parametrize(
    ("batch", "policy", "error", "message"),
    [
        (
            [torch.zeros(2, 3, 4, 4, dtype=torch.uint8)],
            None,
            TypeError,
            r"dtype torch.uint8; expected floating",
        ),
        (
            [GRID],
            None,
            ValueError,
            r"no image view found.*\(2, 7, 7, 2\) torch.float",
        ),
        ([], None, ValueError, r"its tensors are none"),
        ([LARGE], [1], ValueError, r"views=\[1\] does not fit a batch with 1 image"),
        ([LARGE], [-1], ValueError, r"views=\[-1\] .*; expected indices from 0 to 0"),
        ([LARGE], [], ValueError, r"views=\[\] selects nothing"),
        ([LARGE], "local", TypeError, r"views='local' is not understood"),
        ([LARGE], 3, TypeError, r"views=3 is not understood"),
        ([LARGE], ["0"], TypeError, r"views=\['0'\] is not understood"),
        ([LARGE], [True], TypeError, r"views=\[True\] is not understood"),
        ([LARGE], lambda b: [b[0] * 1], ValueError, r"which is not in the batch; exp"),
        ([LARGE], lambda b: [], ValueError, r"returned an empty list; expected a list"),
        ([LARGE], lambda b: None, ValueError, r"returned a NoneType; expected a list"),
        ([LARGE], lambda b: b[0], ValueError, r"shape \(2, 3, 8, 8\).*expected a list"),
        (
            [LARGE, LABELS],
            lambda b: b,
            ValueError,
            r"shape \(2,\) and dtype torch.int64, which is no image view",
        ),
        (
            [LARGE, "a.png"],
            lambda b: b,
            ValueError,
            r"returned a str, which is no image",
        ),
    ],
)
def test_what_cannot_be_selected_is_refused(
    batch: Any, policy: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        select_views(batch, policy=policy, normalize=STATS)


def test_a_function_may_choose_what_is_not_taken_for_a_image() -> None:
    selected = select_views([LARGE, MASK], policy=lambda b: b[1:], normalize=None)
    assert [id(view) for view in selected.views] == [id(MASK)]


def test_copies_may_be_written_into() -> None:
    view, label = LARGE.clone(), LABELS.clone()
    selected = select_views(([view, view], label), policy=None, normalize=None)
    new = (view + 1).requires_grad_()
    (first, second), labels = selected.copied([new])
    assert first is second
    assert torch.equal(first, new)
    first.mul_(3)
    labels.mul_(0)
    assert torch.equal(new, view + 1)
    assert torch.equal(label, LABELS)
    first.sum().backward()
    assert new.grad is not None
    assert torch.equal(new.grad, torch.full_like(view, 3))


@dataclass
class Named:
    views: list[torch.Tensor]
    label: torch.Tensor


def test_batches_may_be_what_lightning_moves() -> None:
    for batch in (Named([LARGE], LABELS), UserDict(views=[LARGE], label=LABELS)):
        selected = select_views(batch, policy=None, normalize=None)
        assert [id(view) for view in selected.views] == [id(LARGE)]
        replaced = selected.replace([SMALL])
        assert type(replaced) is type(batch)
    assert isinstance(batch, UserDict)
    assert replaced["views"][0] is SMALL


@dataclass(frozen=True)
class Frozen:
    views: torch.Tensor


class Checked(list[torch.Tensor]):
    """Refuses what is no tensor."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        assert all(isinstance(item, torch.Tensor) for item in self)


def test_frozen_dataclasses_stay_as_they_are() -> None:
    meta = Frozen(SMALL)
    selected = select_views([LARGE, meta], policy=None, normalize=None)
    assert [id(view) for view in selected.views] == [id(LARGE)]
    assert selected.replace([SMALL])[1] is meta
    with pytest.raises(ValueError, match="no image view found"):
        select_views(meta, policy=None, normalize=None)


def test_containers_are_never_made_with_other_things() -> None:
    selected = select_views(Checked([LARGE, LABELS]), policy=None, normalize=None)
    assert type(selected.replace([SMALL])) is Checked
