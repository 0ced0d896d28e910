from __future__ import annotations

import itertools

import pytest
import torch
from lightly.transforms.solarize import RandomSolarization
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from lightly_adv.transforms import ColorJitter, Grayscale, Solarize
from lightly_adv.transforms.color import Jitter, Normalize, shift_hue

TOLERANCE = 5e-6
"""Of float32 pixels in [0, 1]; hue divides by differences of colours."""

JITTER = ColorJitter(
    brightness=(0.2, 1.8), contrast=(0.2, 1.8), saturation=(0.2, 1.8), hue=(-0.2, 0.2)
)
ORDERS = list(itertools.permutations(range(4)))
PARTS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


def images(count: int) -> Tensor:
    """Return random images; the first have grey pixels and pure colours."""
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(count, 3, 9, 7, generator=generator)
    found[0] = found[0, :1]
    found[1] = found[1].round()
    return found


def expected(image: Tensor, drawn: Jitter, at: int) -> Tensor:
    for part in drawn.order[at].tolist():
        image = PARTS[part](image, float(drawn[part][at]))
    return image


def test_jitter_equals_torchvision_in_every_order() -> None:
    batch = images(len(ORDERS))
    drawn = JITTER.draw(batch)._replace(order=torch.tensor(ORDERS))
    jittered = JITTER.apply(batch, drawn)
    for at, (image, result) in enumerate(zip(batch, jittered, strict=True)):
        torch.testing.assert_close(
            result, expected(image, drawn, at), atol=TOLERANCE, rtol=0
        )


def test_orders_and_factors_are_drawn_for_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = JITTER.draw(torch.zeros(4800, 3, 2, 2), generator)
    orders = [tuple(order) for order in drawn.order.tolist()]
    counts = [orders.count(order) for order in ORDERS]
    assert min(counts) > 130
    assert max(counts) < 270
    for values, (low, high) in zip(
        drawn[:4], [(0.2, 1.8)] * 3 + [(-0.2, 0.2)], strict=True
    ):
        assert low <= float(values.min()) < low + 0.01
        assert high - 0.01 < float(values.max()) <= high
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.03)


def test_jitter_of_nothing_changes_nothing() -> None:
    batch = images(4)
    assert torch.equal(ColorJitter().apply(batch, ColorJitter().draw(batch)), batch)


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.0, 1 / 3, 0.5])
def test_hue_equals_torchvision(shift: float) -> None:
    batch = images(4)
    found = shift_hue(batch, torch.full((4,), shift))
    wanted = tv.adjust_hue(batch, shift)
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)


def test_grey_equals_torchvision() -> None:
    batch = images(3)
    wanted = tv.rgb_to_grayscale(batch, num_output_channels=3)
    torch.testing.assert_close(Grayscale().apply(batch), wanted, atol=1e-7, rtol=0)


def test_solarised_images_equal_torchvision_and_lightly() -> None:
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 2, 256)
    pixels = levels[None] / 255
    found = Solarize().apply(pixels)
    assert torch.equal(found, tv.solarize(pixels, 128 / 255))
    theirs = RandomSolarization(prob=1.0)(tv.to_pil_image(levels))
    torch.testing.assert_close(found[0], tv.pil_to_tensor(theirs) / 255)


def test_normalised_images_equal_torchvision() -> None:
    batch, mean, std = images(2), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    found = Normalize(mean, std).apply(batch)
    torch.testing.assert_close(found, tv.normalize(batch, list(mean), list(std)))
