from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from lightly.transforms.utils import IMAGENET_NORMALIZE
from torch import Generator, Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from lightly_adv.transforms import (
    BatchedTransform,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomApply,
    RandomResizedCrop,
    Solarize,
    color,
)
from tests import dispatch

lightly: Any = importlib.import_module("lightly.transforms")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class RandomGrayscale:
    """Has the name of an operation that is known, and does something else."""

    def __call__(self, image: Any) -> Any:
        return image.point(lambda level: 0)


class Later(lightly.SimCLRTransform):  # type: ignore[misc]
    """Calls its views in a way of its own."""

    def __call__(self, image: Any) -> Any:
        return super().__call__(image)[:1]


UINT8 = torch.randint(
    256, (8, 3, 40, 36), dtype=torch.uint8, generator=Generator().manual_seed(0)
)


def test_simclr_has_the_parameters_of_lightly() -> None:
    [first, second] = BatchedTransform(lightly.SimCLRTransform(32)).views
    assert first == second
    factors = (1 - 0.8, 1 + 0.8)
    jitter = ColorJitter(factors, factors, factors, (-0.2, 0.2))
    assert first.operations == (
        RandomResizedCrop((32, 32), (0.08, 1.0), (3 / 4, 4 / 3), "bilinear"),
        RandomApply(HorizontalFlip(), 0.5),
        RandomApply(jitter, 0.8),
        RandomApply(Grayscale(), 0.2),
        RandomApply(GaussianBlur((0.1, 2)), 0.5),
        color.Normalize(MEAN, STD),
    )


def test_dino_has_the_views_and_parameters_of_lightly() -> None:
    views = BatchedTransform(lightly.DINOTransform()).views
    assert len(views) == 8
    crops = [view.operations[0] for view in views]
    large = RandomResizedCrop((224, 224), (0.4, 1.0), interpolation="bicubic")
    small = RandomResizedCrop((96, 96), (0.05, 0.4), interpolation="bicubic")
    assert crops == [large] * 2 + [small] * 6
    blurs = [view.operations[4] for view in views]
    blur = GaussianBlur((0.1, 2))
    assert blurs[:3] == [blur, RandomApply(blur, 0.1), RandomApply(blur, 0.5)]
    solarised = RandomApply(Solarize(128 / 255), 0.2)
    assert [solarised in view.operations for view in views] == [False, True] + [
        False
    ] * 6


@pytest.mark.parametrize(
    "transform",
    [
        lightly.BYOLTransform(),
        lightly.MoCoV2Transform(32),
        lightly.SimSiamTransform(32),
        lightly.SwaVTransform(crop_sizes=(32, 16)),
        lightly.VICRegTransform(32),
        lightly.MAETransform(32),
        lightly.FastSiamTransform(input_size=32),
        lightly.MSNTransform(random_size=32, focal_size=16),
        lightly.SMoGTransform(crop_sizes=(32, 16)),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_other_transforms_of_lightly(transform: Any) -> None:
    image = tv.to_pil_image(UINT8[0])
    expected = [tuple(view.shape) for view in transform(image)]
    views = BatchedTransform(transform)(UINT8)
    assert [tuple(view.shape[1:]) for view in views] == expected


@pytest.mark.parametrize("module", [v1, v2])
def test_a_compose_of_torchvision_makes_one_view(module: Any) -> None:
    transform = module.Compose(
        [
            module.RandomResizedCrop(32, scale=(0.5, 1.0)),
            module.RandomHorizontalFlip(),
            module.ToTensor() if module is v1 else module.ToImage(),
            module.Normalize(**IMAGENET_NORMALIZE),
        ]
    )
    [view] = BatchedTransform(transform)(UINT8)
    assert (view.shape, view.dtype) == ((8, 3, 32, 32), torch.float32)


def test_levels_and_pixels_give_the_same_views() -> None:
    transform = BatchedTransform(lightly.SimCLRTransform(32))
    first = transform(UINT8, Generator().manual_seed(0))
    second = transform(UINT8 / 255, Generator().manual_seed(0))
    assert all(map(torch.equal, first, second))
    assert not torch.equal(*first)


def test_whole_views_equal_torchvision_image_by_image() -> None:
    transform = BatchedTransform(lightly.DINOTransform(32, local_crop_size=16))
    view = transform.views[1]
    images = UINT8 / 255
    drawn: list[Any] = []
    for operation in view.operations:
        drawn.append(operation.draw(images, Generator().manual_seed(len(drawn))))
        images = operation.apply(images, drawn[-1])
    for at in range(len(images)):
        expected = by_torchvision(UINT8[at] / 255, drawn, at)
        torch.testing.assert_close(images[at], expected, atol=5e-5, rtol=0)


def by_torchvision(image: Tensor, drawn: list[Any], at: int) -> Tensor:
    """Return the second global view of DINO with the numbers that were drawn."""
    boxes, flip, jitter, grey, blur, solarised, _ = drawn
    box = [int(values[at]) for values in boxes]
    mode = tv.InterpolationMode.BICUBIC
    image = tv.resized_crop(image, *box, size=[32, 32], interpolation=mode).clamp(0, 1)
    image = tv.horizontal_flip(image) if flip.chosen[at] else image
    parts = (
        tv.adjust_brightness,
        tv.adjust_contrast,
        tv.adjust_saturation,
        tv.adjust_hue,
    )
    if jitter.chosen[at]:
        for part in jitter.drawn.order[at].tolist():
            image = parts[part](image, float(jitter.drawn[part][at]))
    image = tv.rgb_to_grayscale(image, 3) if grey.chosen[at] else image
    if blur.chosen[at]:
        image = tv.gaussian_blur(image, [17, 17], [float(blur.drawn[at])] * 2)
    image = tv.solarize(image, 128 / 255) if solarised.chosen[at] else image
    normalized: Tensor = tv.normalize(image, list(MEAN), list(STD))
    return normalized


TRANSFORMS = [
    lightly.SimCLRTransform(32),
    lightly.DINOTransform(32, local_crop_size=16),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_nothing_waits_for_the_device(transform: Any) -> None:
    batched = BatchedTransform(transform)
    with dispatch.reads() as reads:
        batched(UINT8)
        assert reads.places == []
        float(UINT8[0, 0, 0, 0])
    assert reads.count == 1, "it is counted"


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_all_tensors_are_on_the_device_of_the_images(transform: Any) -> None:
    """A tensor of the CPU that has a dimension raises beside those of another."""
    images = torch.empty(8, 3, 40, 36, device="meta")
    for view in BatchedTransform(transform).views:
        assert view(images).device.type == "meta"


def test_autocast_and_gradients_are_off() -> None:
    transform = BatchedTransform(lightly.SimCLRTransform(32))
    images = (UINT8 / 255).requires_grad_()
    expected = transform(images, Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = transform(images, Generator().manual_seed(0))
    assert all(map(torch.equal, views, expected))
    assert not views[0].requires_grad


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\); expected a batch"),
        (torch.zeros(2, 1, 8, 8), r"shape \(2, 1, 8, 8\); expected a batch"),
        (torch.zeros(2, 3, 8, 8).long(), r"torch\.int64; expected uint8"),
    ],
)
def test_images_of_another_kind(images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchedTransform(lightly.SimCLRTransform(32))(images)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v2.Compose([v2.RandomPosterize(4)]), "RandomPosterize is not known .* Leave"),
        (lightly.SimCLRTransform(rr_prob=0.5), "RandomRotate is not known"),
        (lightly.SimCLRTransform(rr_prob=0.5, rr_degrees=9), "RandomRotation is not"),
        (
            v2.Compose(
                [v2.RandomResizedCrop(8, interpolation=v2.InterpolationMode.NEAREST)]
            ),
            "interpolation='nearest'; expected one of .*bicubic",
        ),
        (
            v2.RandomApply([v2.Grayscale(), v2.RandomHorizontalFlip()], p=0.5),
            "Grayscale is not known",
        ),
        (
            v2.RandomApply([v2.ColorJitter(0.1), v2.RandomHorizontalFlip()], p=0.5),
            r"2 operations with p=0\.5; expected one",
        ),
        (
            v1.Compose([RandomGrayscale()]),
            r"test_batched\.RandomGrayscale is not known",
        ),
        (v1.RandomApply([RandomGrayscale()], 0.5), "RandomGrayscale is not known"),
        (v1.RandomOrder([v1.RandomGrayscale()]), "RandomOrder is not known"),
        (v2.RandomOrder([v2.RandomGrayscale()]), "RandomOrder is not known"),
        (v1.RandomChoice([v1.RandomGrayscale()]), "RandomChoice is not known"),
        (v2.RandomChoice([v2.RandomGrayscale()]), "RandomChoice is not known"),
        (lightly.VICRegLTransform(), "VICRegLTransform is not known"),
        (lightly.PIRLTransform(), "Jigsaw is not known"),
        (Later(), "Later is not known"),
        (v1.Lambda(abs), "Lambda is not known"),
        (abs, "builtin_function_or_method is not known"),
        (v2.GaussianBlur((3, 7)), r"kernel_size=\(3, 7\); expected the same .* Leave"),
        (v2.ToDtype(torch.float32), "scale=False; expected .* scale=True"),
        (v2.ToDtype(torch.float64, scale=True), r"float64 and .* expected torch\.flo"),
    ],
)
def test_what_is_not_known_for_batches(transform: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchedTransform(transform)


@pytest.mark.parametrize("module", [v1, v2])
def test_operations_within_others(module: Any) -> None:
    flip, grey = module.RandomHorizontalFlip(), module.RandomGrayscale(1.0)
    nested = module.RandomApply([module.Compose([grey])], p=0.3)
    [view] = BatchedTransform(nn.Sequential(flip, nested)).views
    assert view.operations == (
        RandomApply(HorizontalFlip(), 0.5),
        RandomApply(Grayscale(), 0.3),
    )


def test_conversions_that_torchvision_recommends() -> None:
    to_levels, to_pixels = v2.ToDtype(torch.uint8), v2.ToDtype(torch.float32, True)
    steps = [v2.ToImage(), to_levels, v2.RandomVerticalFlip(1.0), to_pixels]
    [view] = BatchedTransform(v2.Compose(steps))(UINT8)
    assert torch.equal(view, UINT8.flip(-2) / 255)
