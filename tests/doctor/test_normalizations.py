from __future__ import annotations

import torch

from lightly_adv.doctor import image_values, normalizations
from lightly_adv.doctor.normalizations import Candidate
from lightly_adv.functional import pixels
from tests.doctor import healthy

IMAGES = healthy.images(2)
OWN = {"mean": [0.3, 0.4, 0.5], "std": [0.15, 0.2, 0.1]}


def normalised(candidate: Candidate) -> torch.Tensor:
    return pixels.to_normalized(IMAGES.double(), candidate.normalize).float()


def test_candidates_are_told_from_each_other() -> None:
    for candidate in list(normalizations.candidates(3, OWN))[::2]:
        values = image_values.values_of([normalised(candidate)])
        found = normalizations.best(values, OWN)
        assert found is not None
        given, same = (
            torch.tensor([each.normalize[key] for key in ("mean", "std")])
            if each.normalize
            else None
            for each in (candidate, found)
        )
        # Some doubles are the same, in whatever order.
        if given is None or same is None:
            assert given is same, candidate
        else:
            assert torch.allclose(given, same, rtol=1e-3, atol=1e-3), candidate


def test_undoing_a_double_is_undoing_one_after_the_other() -> None:
    inner, outer = healthy.CIFAR10, healthy.IMAGENET
    twice = pixels.to_normalized(pixels.to_normalized(IMAGES, inner), outer)
    found = normalizations.best(image_values.values_of([twice]), None)
    assert found is not None
    assert found.name == "ImageNet's after CIFAR-10's"
    assert torch.allclose(pixels.to_pixels(twice, found.normalize), IMAGES, atol=1e-5)


def test_nothing_fits_what_is_no_image() -> None:
    values = image_values.values_of([1e4 * torch.randn(4, 3, 8, 8)])
    assert normalizations.best(values, None) is None
