"""Stacks, single images and volumes become views, and go back where they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv.training.views import SelectedViews, select_views

PAIRS = [(torch.rand(3, 8, 8), torch.rand(3, 8, 8)) for _ in range(4)]
STACK = torch.rand(4, 2, 3, 8, 8)


def select(batch: Any, **arguments: Any) -> SelectedViews:
    return select_views(batch, **{"policy": None, "normalize": None, **arguments})


@pytest.mark.parametrize(
    ("batch", "back"),
    [
        ((PAIRS, [0, 1, 2, 3]), lambda batch: batch[0]),
        ([(*pair, 7) for pair in PAIRS], lambda batch: [each[:2] for each in batch]),
        ([{"views": pair} for pair in PAIRS], lambda b: [each["views"] for each in b]),
    ],
)
def test_single_images_become_one_view_for_all_samples(batch: Any, back: Any) -> None:
    selected = select(batch)
    assert [view.shape for view in selected.views] == [(4, 3, 8, 8)] * 2
    assert torch.equal(selected.views[1][2], PAIRS[2][1])
    new = [view + at + 1 for at, view in enumerate(selected.views)]
    for pair, old in zip(back(selected.replace(new)), PAIRS, strict=True):
        assert torch.equal(pair[0], old[0] + 1)
        assert torch.equal(pair[1], old[1] + 2)


def test_single_images_of_other_sizes_and_masks() -> None:
    images = [torch.rand(1, 8, 8), torch.rand(1, 8, 8), torch.rand(1, 6, 6)]
    masks = [(image > 0.5).float() for image in images]
    batch = list(zip(images, masks, strict=True))
    selected = select(batch)
    assert [tuple(view.shape) for view in selected.views] == [
        (2, 1, 8, 8),
        (1, 1, 6, 6),
    ]
    replaced = selected.replace([view + 1 for view in selected.views])
    assert torch.equal(replaced[2][0], images[2] + 1)
    assert all(new[1] is mask for new, mask in zip(replaced, masks, strict=True))


def test_a_function_may_choose_single_images() -> None:
    selected = select(
        (PAIRS, torch.arange(4)), policy=lambda batch: [pair[0] for pair in batch[0]]
    )
    assert torch.equal(selected.views[0], torch.stack([pair[0] for pair in PAIRS]))
    assert len(selected.views) == 1


def test_views_of_a_stack_may_be_left_out() -> None:
    whole = select([STACK])
    assert whole.stacks() == {0: ((0,), (0, 1))}
    part = whole.without({(0,): {1}})
    assert torch.equal(part.views[0], STACK[:, 0])
    (new,) = part.replace([part.views[0] + 1])
    assert torch.equal(new[:, 0], STACK[:, 0] + 1)
    assert torch.equal(new[:, 1], STACK[:, 1])
    leaf = part.views[0].clone().requires_grad_()
    part.copied([leaf])[0][:, 1].sum().backward()
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_a_stack_that_a_function_chose_is_one_view() -> None:
    selected = select([STACK], policy=lambda batch: batch)
    assert [id(view) for view in selected.views] == [id(STACK)]
    assert [id(view) for view in selected.images] == [id(STACK)]


@pytest.mark.parametrize("shape", [(2, 1, 6, 8, 8), (2, 3, 6, 8, 8)])
def test_volumes_and_videos_are_views(shape: tuple[int, ...]) -> None:
    volume = torch.rand(shape)
    selected = select((volume, torch.arange(2)))
    assert [id(view) for view in selected.views] == [id(volume)]


def test_strides_stay_for_kernels_that_depend_on_them() -> None:
    stack = STACK.transpose(-1, -2).contiguous().transpose(-1, -2)
    selected = select([stack])
    (same,) = selected.replace(selected.views)
    assert torch.equal(same, stack)
    assert same.stride() == stack.stride()


@pytest.mark.parametrize("count", [8, 13, 14])
def test_other_numbers_of_channels(count: int) -> None:
    view: Tensor = torch.rand(2, count, 8, 8)
    with pytest.raises(ValueError, match=rf"normalize=\) {count} means"):
        select([view])
    stats = {"mean": [0.0] * count, "std": [1.0] * count}
    assert select([view], normalize=stats).views[0] is view
