from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightly.transforms.simclr_transform import SimCLRTransform
from PIL import Image

from lightly_adv import AdversarialTraining
from lightly_adv.doctor import Probe, image_values
from lightly_adv.doctor.attack_choice import AttackChoice
from lightly_adv.doctor.checks import images as image_checks
from lightly_adv.evaluation.checks import Check
from lightly_adv.functional import pixels
from lightly_adv.isolation import rng
from lightly_adv.types import NormalizeStats
from tests.doctor import healthy
from tests.doctor.healthy import CIFAR10, IMAGENET, Healthy, blamed, examine, told

HALF: NormalizeStats = {"mean": [0.5] * 3, "std": [0.5] * 3}
OWN: NormalizeStats = {"mean": [0.3, 0.4, 0.5], "std": [0.15, 0.2, 0.1]}

IMAGES = healthy.images()
SMOOTH = F.interpolate(IMAGES, size=24, mode="bilinear").mul(1.4).sub(0.2).clamp(0, 1)
"""Images that touch 0 and 1 but are not multiples of 1/255."""


def twice(normalize: NormalizeStats, images: torch.Tensor = IMAGES) -> torch.Tensor:
    once = pixels.to_normalized(images, normalize)
    return pixels.to_normalized(once, normalize)


@pytest.mark.parametrize(
    ("images", "declared", "message"),
    [
        (pixels.to_normalized(IMAGES, IMAGENET), None, "ImageNet's fits"),
        (pixels.to_normalized(IMAGES, CIFAR10), None, "CIFAR-10's fits"),
        (pixels.to_normalized(IMAGES, HALF), None, "that of [-1, 1]"),
        (pixels.to_normalized(IMAGES, IMAGENET), CIFAR10, "ImageNet's fits"),
        (pixels.to_normalized(IMAGES, OWN), None, "no usual normalisation explains"),
        (twice(IMAGENET), IMAGENET, "normalised twice (ImageNet's twice)"),
        (twice(OWN), OWN, "normalised twice (the given one twice)"),
        (twice(IMAGENET, SMOOTH), IMAGENET, "normalised twice (ImageNet's twice)"),
        (twice(IMAGENET), None, "normalised twice (ImageNet's twice)"),
        (IMAGES * 255, None, "wrong scale (0..255)"),
        (IMAGES / 255, None, "divided by 255 twice"),
        (
            pixels.to_normalized(IMAGES * 255, IMAGENET),
            IMAGENET,
            "ImageNet's applied to 0..255",
        ),
        # What is inside of [0, 1] once undone can be wrong as well.
        (IMAGES, IMAGENET, "the normalisation is missing"),
        (SMOOTH, IMAGENET, "the normalisation is missing"),
        (
            pixels.to_normalized(IMAGES, CIFAR10),
            IMAGENET,
            "CIFAR-10's makes it [0, 1]",
        ),
        (pixels.to_normalized(SMOOTH, HALF), IMAGENET, "that of [-1, 1]"),
    ],
)
def test_wrong_normalisation_is_named(
    images: torch.Tensor, declared: NormalizeStats | None, message: str
) -> None:
    data = [images, torch.arange(8) % 4]
    diagnosis = examine(Healthy(), data, healthy.attack(declared))
    assert blamed(diagnosis) == {"images": "FAIL"}
    assert message in told(diagnosis, "images")
    assert diagnosis.checks[1].remedy


def test_without_traces_of_8_bits_a_better_fit_is_a_hint() -> None:
    data = [pixels.to_normalized(SMOOTH, CIFAR10), torch.arange(8) % 4]
    diagnosis = examine(Healthy(), data, healthy.attack(IMAGENET))
    assert blamed(diagnosis) == {"images": "WARN"}
    assert "CIFAR-10's makes it [0, 1]. Is it the right one?" in told(
        diagnosis, "images"
    )


def check(images: Any, normalize: NormalizeStats | None) -> list[Check]:
    """Run the one check, without a Trainer."""
    training = AdversarialTraining(healthy.attack(normalize))
    return list(
        image_checks.images(Probe(Healthy(), AttackChoice(training), batch=images))
    )


@pytest.mark.parametrize("normalize", [None, IMAGENET, CIFAR10, HALF, OWN])
@pytest.mark.parametrize("contrast", [1.0, 0.5])
def test_right_normalisation_passes(
    normalize: NormalizeStats | None, contrast: float
) -> None:
    for images in (IMAGES, SMOOTH):
        flat = (images - 0.5) * contrast + 0.5
        (found,) = check(pixels.to_normalized(flat, normalize), normalize)
        assert found.status == "PASS", found


def test_a_single_wrong_view_is_named() -> None:
    (found,) = check([IMAGES, IMAGES * 255, IMAGES], None)
    assert found.message.startswith("view 1: pixels span [0, 255]")
    found, other = check([IMAGES, IMAGES * 255, twice(IMAGENET)], None)
    assert other.message.startswith("view 2: pixels span")


def test_one_channel() -> None:
    mnist: NormalizeStats = {"mean": [0.1307], "std": [0.3081]}
    (found,) = check(pixels.to_normalized(IMAGES[:, :1], mnist), None)
    assert "MNIST's fits" in found.message


def test_what_transforms_of_lightly_do_is_certain() -> None:
    drawn = healthy.images(8, size=32).mul(255).byte().permute(0, 2, 3, 1).numpy()
    rng.reseed(0)  # Lightly's transforms draw from torch, numpy and random
    transform = SimCLRTransform(input_size=24)
    pairs = [transform(Image.fromarray(each)) for each in drawn]
    batch = [torch.stack(views) for views in zip(*pairs, strict=True)]
    (found,) = check(batch, IMAGENET)
    assert found.status == "PASS"
    assert "multiples of 1/255; normalisation: ImageNet's." in found.message
    # In one of the views alone it may look like an overshoot.
    failed = [each for each in check(batch, CIFAR10) if each.status == "FAIL"]
    assert failed
    assert all("ImageNet's" in each.message for each in failed)


def test_other_bounds_than_those_of_pixels() -> None:
    attack = healthy.attack(None, bounds=(-1.0, 1.0))
    data = [IMAGES * 2 - 1, torch.arange(8) % 4]
    assert blamed(examine(Healthy(), data, attack)) == {}
    diagnosis = examine(Healthy(), [IMAGES * 2, data[1]], attack)
    assert blamed(diagnosis) == {"images": "FAIL"}


def test_coarse_numbers_leave_no_traces_of_8_bits() -> None:
    (found,) = check(IMAGES.bfloat16(), None)
    assert found.status == "PASS"
    assert "multiples of 1/255" not in found.message


EIGHT_BITS = healthy.images(8, size=32)


@pytest.mark.parametrize("normalize", [None, IMAGENET])
def test_overshoot_is_no_mistake(normalize: NormalizeStats | None) -> None:
    images = SMOOTH.clone()
    images[:, :, 0, :6] += torch.linspace(0.02, 0.12, 6)
    images[:, :, 1, :6] -= torch.linspace(0.02, 0.12, 6)
    data = [pixels.to_normalized(images, normalize), healthy.batch()[1]]
    for given in (healthy.attack(normalize), None):
        diagnosis = examine(Healthy(), data, given)
        assert diagnosis.statuses["images"] == "WARN"
        text = told(diagnosis, "images")
        assert "of the pixels overshoot the bounds (0.0, 1.0)" in text
        assert "clamp the images in the transform" in text


@pytest.mark.parametrize("off", [0.8, 0.9, 1.2])
def test_a_wrong_std_is_proven_by_images_of_8_bits(off: float) -> None:
    # Contrast is low enough for every pixel to stay inside of [0, 1].
    pixel = (64 + (EIGHT_BITS * 255 / 2).round()) / 255
    view = pixels.to_normalized(pixel, OWN)
    wrong: NormalizeStats = {"mean": OWN["mean"], "std": [off * s for s in OWN["std"]]}
    found = image_checks._examine(view, wrong)
    assert found is not None
    status, message, remedy = found
    assert status == "FAIL"
    assert f"{off:.3g}/255 apart instead of 1/255" in message
    assert f"eps is off by {100 * abs(off - 1):.0f} %" in message
    assert str(OWN["std"]) in remedy
    assert image_checks._examine(view, OWN) is None


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Jitter the brightness of every image as a tensor."""
    return images * torch.linspace(0.5, 1, len(images)).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    "images",
    [
        F.interpolate(EIGHT_BITS, size=40, mode="bilinear"),
        scaled(EIGHT_BITS),
        # One image alone could have been scaled.
        0.8 * EIGHT_BITS[:1],
        (EIGHT_BITS * 15).round() / 15,
        (EIGHT_BITS * 63).round() / 63,
        (EIGHT_BITS * 1023).round() / 1023,
        EIGHT_BITS.half(),
        torch.zeros(4, 3, 8, 8),
    ],
    ids=["resized", "jittered", "single", "4 bits", "6 bits", "10 bits", "16", "flat"],
)
def test_what_proves_nothing_is_not_blamed(images: torch.Tensor) -> None:
    for normalize in (None, OWN):
        view = pixels.to_normalized(images.float(), normalize).to(images.dtype)
        assert image_checks._examine(view, normalize) is None
        assert image_checks._stepped(image_values.values_of([view]), HALF) is None


def test_stats_of_plain_pixels_only_tell_the_channels() -> None:
    images = torch.rand(4, 8, 16, 16)
    identity: NormalizeStats = {"mean": [0.0] * 8, "std": [1.0] * 8}
    assert image_checks._examine(images, identity) is None
