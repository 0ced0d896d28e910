from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation import figures
from lightly_adv.evaluation.figures import canvas
from lightly_adv.functional import pixels
from lightly_adv.types import NormalizeStats

pytest.importorskip("matplotlib")

CLEAN = torch.full((2, 3, 4, 4), 0.5)
CLASSES = torch.tensor([0, 1])
NORMALIZE: NormalizeStats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}


def grid(clean: Tensor = CLEAN, *, moved: float = 0.05, **changes: Any) -> Any:
    options: dict[str, Any] = {
        "labels": CLASSES,
        "clean_predictions": CLASSES,
        "adversarial_predictions": torch.tensor([0, 0]),
        "class_names": ["cat", "dog"],
        **changes,
    }
    adversarial = options.pop("adversarial", clean + moved)
    return figures.image_grid(clean, adversarial, **options)


def test_predictions_stand_above_and_wrong_ones_are_red() -> None:
    axes = grid().axes
    assert [each.get_title() for each in axes] == ["cat", "dog", "", "", "cat", "cat"]
    wrong = [each for each in axes if each.title.get_color() == canvas.WRONG]
    assert wrong == [axes[5]]


def test_perturbations_are_amplified_around_grey() -> None:
    axes = grid(moved=-0.05).axes
    assert axes[2].get_ylabel() == "perturbation\n\N{MULTIPLICATION SIGN} 10"
    assert axes[2].images[0].get_array().max() == pytest.approx(0.0, abs=1e-5)
    axes = grid(amplify=4).axes
    assert axes[2].get_ylabel().endswith(" 4")
    assert axes[2].images[0].get_array().max() == pytest.approx(0.7)


def test_without_a_perturbation_it_is_grey() -> None:
    axes = grid(moved=0.0).axes
    assert axes[2].images[0].get_array().tolist() == [[[0.5] * 3] * 4] * 4


def test_normalised_images_are_drawn_as_pixels() -> None:
    views = pixels.to_normalized(CLEAN, NORMALIZE)
    adversarial = pixels.to_normalized(CLEAN + 0.05, NORMALIZE)
    axes = grid(views, adversarial=adversarial, normalize=NORMALIZE).axes
    for index, expected in ((0, 0.5), (2, 1.0), (4, 0.55)):
        drawn = torch.from_numpy(axes[index].images[0].get_array().filled())
        assert torch.allclose(drawn, torch.tensor(expected), atol=1e-4)


def test_grey_images_and_class_numbers() -> None:
    axes = grid(CLEAN[:, :1], class_names=None).axes
    assert axes[0].images[0].get_array().shape == (4, 4)
    assert axes[1].get_title() == "1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean": CLEAN[0]}, r"shape \(3, 4, 4\); expected \(N, C, H, W\)"),
        ({"clean": CLEAN[:0]}, "at least one image"),
        ({"clean": CLEAN[:, :2]}, "of 1 or 3 channels"),
        ({"adversarial": CLEAN[:1]}, "expected the same"),
        ({"labels": CLASSES[:1]}, r"2 images, and \[1, 2, 2\] labels"),
    ],
)
def test_images_that_cannot_be_drawn(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid(**changes)
