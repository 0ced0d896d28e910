"""What lies beside images is told from them by names and by values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightly_adv.training.places import Path
from lightly_adv.training.views import select_views

GREY, RGB = torch.rand(4, 1, 8, 8), torch.rand(4, 3, 8, 8)
MASK = (torch.rand(4, 1, 8, 8) > 0.5).float()
CLASSES = torch.randint(0, 5, (4, 1, 8, 8)).float()
ONE_HOT = torch.eye(3)[torch.randint(0, 3, (4, 8, 8))].permute(0, 3, 1, 2)
SOFT = 0.7 * ONE_HOT + 0.3 * ONE_HOT.flip(0)
DEPTH = torch.rand(4, 1, 8, 8)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"image": GREY, "label": MASK}, GREY),
        ({"image": GREY, "depth_map": DEPTH}, GREY),
        ({"img": GREY, "img_weight": DEPTH}, GREY),
        ({"x": GREY, "y": DEPTH}, GREY),
        ({"pixel_values": RGB, "pixelMask": torch.rand(4, 3, 8, 8)}, RGB),
        ({"images": {"a": GREY}, "targets": {"masks": MASK, "sdf": DEPTH}}, GREY),
        ({"image": GREY, "mask": ONE_HOT}, GREY),
        ({"image": GREY, "extra": torch.rand(4, 3, 8, 8)}, GREY),
        ((GREY, MASK), GREY),
        ([MASK, GREY], GREY),
        ((GREY, CLASSES), GREY),
        ((GREY, ONE_HOT), GREY),
        ((GREY, SOFT), GREY),
        ((RGB, ONE_HOT), RGB),
        ((GREY, MASK * 255), GREY),
        ((GREY * 0 + torch.arange(64.0).view(8, 8), MASK), None),
        ({"masked_image": GREY, "mask": MASK}, GREY),
        ({"y1": GREY, "y2": DEPTH}, (GREY, DEPTH)),
        ((MASK, MASK.flip(0)), None),
        (MASK, MASK),
        ((GREY, DEPTH), (GREY, DEPTH)),
    ],
)
def test_only_images_are_perturbed(batch: Any, expected: Any) -> None:
    selected = select_views(batch, policy=None, normalize=None)
    if expected is None:
        expected = batch if batch[1] is not MASK else batch[0]
    wanted = expected if isinstance(expected, tuple) else (expected,)
    assert [id(view) for view in selected.views] == [id(view) for view in wanted]


def test_it_is_said_what_is_perturbed_and_what_is_not() -> None:
    batch = {"image": GREY, "label": MASK, "other": CLASSES}
    text = str(select_views(batch, policy=None, normalize=None))
    assert "perturbed: batch['image'] (4, 1, 8, 8)" in text
    assert "not batch['label'], which is called 'label'" in text
    assert "not batch['other'], which has only 5 values, all whole numbers" in text


def test_places_stay_what_they_were_found_to_be() -> None:
    known: dict[Path, str] = {}
    select_views((GREY, MASK), policy=None, normalize=None, known=known)
    dark = (GREY > 0.5).float()
    selected = select_views((dark, MASK), policy=None, normalize=None, known=known)
    assert [id(view) for view in selected.views] == [id(dark)]


def test_a_mask_that_is_empty_is_looked_at_again() -> None:
    known: dict[Path, str] = {}
    for mask in (MASK * 0, MASK):
        batch = (GREY, mask)
        selected = select_views(batch, policy=None, normalize=None, known=known)
        assert [id(view) for view in selected.views] == [id(GREY)]
    assert known[1,]


def test_what_is_called_an_image_is_one_whatever_its_values() -> None:
    binary = (torch.rand(2, 1, 8, 8) > 0.5).float()
    batch = {"view0": binary, "view1": torch.rand(2, 1, 8, 8)}
    assert len(select_views(batch, policy=None, normalize=None).views) == 2
    batch = {"view0": torch.rand(2, 1, 8, 8), "other": binary}
    assert len(select_views(batch, policy=None, normalize=None).views) == 1


def test_a_stack_is_announced_as_one() -> None:
    stack = torch.rand(2, 3, 3, 8, 8)
    selected = select_views({"video": stack}, policy=None, normalize=None)
    assert "a stack of 3 views" in str(selected)
