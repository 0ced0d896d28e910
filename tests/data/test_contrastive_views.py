from __future__ import annotations

from typing import Any

import pytest
import torch
from lightly.transforms.simclr_transform import SimCLRTransform
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_pil_image, to_tensor

from lightly_adv.data import ContrastiveViews
from lightly_adv.functional.schedules import StrengthSchedule
from tests.cli.tiny import TinyDataModule

SIZE = 8


def image() -> Any:
    generator = torch.Generator().manual_seed(0)
    return to_pil_image(torch.rand(3, SIZE, SIZE, generator=generator))


def batches(transform: Any, *, workers: int = 0, epochs: int = 1) -> list[Tensor]:
    """All views of all batches of some epochs, each batch as one tensor."""
    torch.manual_seed(3)
    data = TinyDataModule(transform=transform, num_workers=workers)
    loader = data.train_dataloader()
    return [torch.stack(views) for _ in range(epochs) for views, _ in loader]


def test_strong_weak_and_clean_views_in_this_order() -> None:
    transform: Any = ContrastiveViews(
        2, weak=1, clean=1, size=SIZE, flip_probability=0.0
    )
    views = transform(image())
    assert [view.shape for view in views] == [(3, SIZE, SIZE)] * 4
    assert torch.equal(views[3], to_tensor(image()))
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[2], views[3])


def test_without_strength_there_is_only_a_crop_of_everything() -> None:
    transform: Any = ContrastiveViews(20, size=SIZE, strength=0.0, flip_probability=0.0)
    torch.manual_seed(0)
    clean = to_tensor(image())
    same = sum(torch.allclose(view, clean) for view in transform(image()))
    # Grey keeps its share of one fifth, whatever the strength.
    assert 8 <= same < 20


def test_the_strong_view_is_simclrs() -> None:
    made = ContrastiveViews(1, size=SIZE, strength=0.5).transforms[0].transform
    crop, flip, _, _, jitter, gray, blur, _ = made.transforms
    assert crop.scale == pytest.approx((0.55, 1.0))
    assert flip.p == 0.5
    assert (jitter.p, gray.p, blur.prob) == (0.4, 0.2, 0.0)
    jitter = jitter.transforms[0]
    assert jitter.brightness == jitter.contrast == pytest.approx((0.8, 1.2))
    assert jitter.hue == pytest.approx((-0.05, 0.05))


def test_strength_follows_the_epoch_in_workers_too() -> None:
    def transform() -> ContrastiveViews:
        return ContrastiveViews(1, clean=1, size=SIZE, strength=StrengthSchedule(2, 1))

    here = batches(transform(), epochs=2)
    there = batches(transform(), workers=1, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    half = len(here) // 2
    assert half == 3


def test_the_strength_itself() -> None:
    transform = ContrastiveViews(strength=StrengthSchedule(4, 2))
    found = []
    for epoch in range(4):
        transform.set_epoch(epoch)
        found.append(transform.strength)
    assert found == [1.0, 1.0, 0.5, 0.5]
    assert ContrastiveViews(strength=0.3).strength == 0.3


def test_batches_repeat_and_leave_the_global_streams_alone() -> None:
    for transform in (ContrastiveViews(size=SIZE), Brighter(), Own()):
        first, again = batches(transform), batches(transform)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first[0][0], first[0][1])
    torch.manual_seed(5)
    loader = TinyDataModule(transform=Own()).train_dataloader()
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


class Brighter(SimCLRTransform):
    """A transform that inherits from one which is known for batches."""

    def __init__(self) -> None:
        super().__init__(input_size=SIZE, normalize=None)

    def __call__(self, image: Any) -> Any:
        assert isinstance(image, Image.Image)
        return [view + 2 for view in super().__call__(image)]  # type: ignore[operator]


class Own:
    """A transform of which nothing is known."""

    def __call__(self, image: Any) -> list[Tensor]:
        return [to_tensor(image) + torch.rand(()) + 2 for _ in range(2)]


@pytest.mark.parametrize("transform", [Brighter(), Own()])
def test_what_a_class_does_itself_is_done(transform: Any) -> None:
    assert float(batches(transform)[0].min()) >= 2


def test_transforms_of_lightly() -> None:
    (views, labels), *_ = TinyDataModule(
        transform=SimCLRTransform(input_size=SIZE, normalize=None)
    ).train_dataloader()
    assert [view.shape for view in views] == [(8, 3, SIZE, SIZE)] * 2
    assert labels.shape == (8,)
    assert 0 <= float(views[0].min()) <= float(views[0].max()) <= 1


def test_single_images_have_views_too() -> None:
    dataset = TinyDataModule(transform=ContrastiveViews(size=SIZE)).train_dataset
    views, _ = dataset[0]
    assert [view.shape for view in views] == [(3, SIZE, SIZE)] * 2
    plain = DataLoader(dataset, batch_size=4, collate_fn=lambda batch: batch)
    assert len(next(iter(plain))[0]) == 2


def test_validation_images_stay_clean() -> None:
    loader = TinyDataModule(transform=ContrastiveViews(size=SIZE)).val_dataloader()
    images, _ = next(iter(loader))
    assert images.shape == (8, 3, SIZE, SIZE)


def test_a_transform_takes_the_place_of_crop_and_flip() -> None:
    with pytest.raises(ValueError, match=r"crop_padding=2.*leave them out"):
        TinyDataModule(transform=Own(), crop_padding=2)


@pytest.mark.parametrize(
    "counts", [{"strong": 0}, {"strong": -1, "weak": 2}, {"strong": 0, "clean": 0}]
)
def test_no_views_are_refused(counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one view"):
        ContrastiveViews(**counts)
    with pytest.raises(ValueError, match=r"strength=1.5.*\[0, 1\]"):
        ContrastiveViews(strength=1.5)


def test_images_that_are_too_small_are_refused_for_weak_views() -> None:
    data = TinyDataModule(transform=ContrastiveViews(1, weak=1, size=40))
    with pytest.raises(ValueError, match=r"\(8, 8\).*\(40, 40\)"):
        next(iter(data.train_dataloader()))
