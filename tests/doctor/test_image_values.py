from __future__ import annotations

import torch

from lightly_adv.doctor import image_values
from lightly_adv.functional import pixels
from tests.doctor import healthy

IMAGES = healthy.images(2)
OWN = {"mean": [0.3, 0.4, 0.5], "std": [0.15, 0.2, 0.1]}


def test_views_of_several_sizes_and_stacks_are_summarised() -> None:
    values = image_values.values_of([IMAGES, IMAGES[:, None, ..., :5] * 2])
    assert values.low.shape == values.high.shape == (3,)
    assert torch.equal(values.high, (2 * IMAGES[..., :5]).amax(dim=(0, 2, 3)))


def test_the_step_of_8_bits_is_1_by_255_and_the_std() -> None:
    images = healthy.images(4, size=32)
    images[2:] = 1 - images[2:]  # rounds otherwise than the byte
    view = pixels.to_normalized(images, {"mean": OWN["mean"], "std": OWN["std"]})
    found = image_values.steps(image_values.values_of([view]))
    assert [round(1 / (255 * (step or 1)), 5) for step in found] == OWN["std"]
