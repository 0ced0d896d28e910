"""Accuracy on corrupted images, against a loop by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightly_adv.evaluation import digests
from lightly_adv.evaluation.corruptions import (
    CifarC,
    corrupt,
    evaluate_corruptions,
)
from tests.evaluation.corruptions.scenes import smooth
from tests.evaluation.counting import STEADY, Counting

NAMES = ["gaussian_noise", "brightness", "frost"]


class Brightness(Counting):
    """Tells ten steps of the mean apart; counts its passes, and may stop."""

    def __init__(self, passes: float = math.inf) -> None:
        super().__init__()
        self.steps = nn.Parameter(torch.linspace(0, 1, 10))
        self.passes = passes

    def forward(self, images: Tensor) -> Any:
        self.sizes.append(len(images))
        if self.done > self.passes:
            raise KeyboardInterrupt
        return -(images.mean(dim=(1, 2, 3))[:, None] - self.steps).abs()


def sample_images() -> tuple[Tensor, Tensor]:
    shades = torch.linspace(0.2, 1, 12).view(-1, 1, 1, 1)
    images = (255 * smooth(12) * shades).round() / 255
    labels = Brightness()(images).argmax(dim=1)
    labels[5] = (labels[5] + 1) % 10  # one that is wrong without a corruption
    return images, labels


def batches(size: int = 5) -> list[tuple[Tensor, Tensor]]:
    images, labels = sample_images()
    return [(images[k : k + size], labels[k : k + size]) for k in range(0, 12, size)]


def test_flags_are_those_of_a_loop_by_hand() -> None:
    images, labels = sample_images()
    model = Brightness()
    found = evaluate_corruptions(
        model, batches(), NAMES, severities=[4, 1], seed=7, max_samples=11
    )
    assert found.severities == (1, 4)
    assert found.num_samples == 11
    assert found.clean.tolist() == [k != 5 for k in range(11)]
    for name in NAMES:
        for row, severity in enumerate((1, 4)):
            corrupted = corrupt(images[:11], name, severity, seed=7)
            expected = model(corrupted).argmax(dim=1) == labels[:11]
            assert torch.equal(found.flags[name][row], expected)
    assert found.warnings == []
    assert found.mean_accuracy < found.clean_accuracy


def test_batches_do_not_matter_and_the_model_stays() -> None:
    model = nn.Sequential(Brightness(), nn.Dropout(0.9)).train()
    before = torch.get_rng_state()
    reports = [
        evaluate_corruptions(model, batches(size), "all", severities=[5])
        for size in (4, 12)
    ]
    first, again = (json.loads(each.to_json()) for each in reports)
    assert first == again
    data = digests.Data()
    for batch in batches(12):
        data.add(*batch)
    assert first["data"]["digest"] == data.hexdigest()
    assert len(first["members"]) == 19
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(before, torch.get_rng_state())


def test_normalised_images_mean_the_same() -> None:
    half = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Brightness()

        def forward(self, images: Tensor) -> Any:
            return self.model(images / 2 + 0.5)

    plain = evaluate_corruptions(Brightness(), batches(), ["contrast", "fog"])
    loader = [(images * 2 - 1, labels) for images, labels in batches()]
    found = evaluate_corruptions(Inside(), loader, ["contrast", "fog"], normalize=half)
    assert found.accuracies == plain.accuracies


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    def run(model: nn.Module, loader: Any, **options: Any) -> str:
        given = {"severities": [1, 5], "state": tmp_path / "state", **options}
        return evaluate_corruptions(model, loader, NAMES, **given).to_json()

    whole = Brightness()
    expected = run(whole, batches(), state=None)
    with pytest.raises(KeyboardInterrupt):
        run(Brightness(passes=0.8 * whole.done), batches())
    kept = json.loads((tmp_path / "state").read_text())["batches"]
    assert sorted(kept) == ["0", "1"]
    again = Brightness()
    assert run(again, batches()) == expected
    passes = whole.done - STEADY  # of three batches
    assert again.done == passes / 3 + 1 + STEADY  # one to recognise it
    for options, words in (
        ({"seed": 1}, "differs in its seed"),
        ({"severities": [1]}, "differs in its corruptions, severities"),
    ):
        with pytest.raises(ValueError, match=words):
            run(Brightness(), batches(), **options)
    with pytest.raises(ValueError, match="does not hold the images"):
        run(Brightness(), batches()[::-1])


def test_small_images_are_told() -> None:
    loader = [(smooth(4, 20, 40), torch.zeros(4).long())]
    found = evaluate_corruptions(Brightness(), loader, ["fog"], severities=[1])
    assert found.image_size == (20, 40)
    (warning,) = found.warnings
    assert "the images are 20 x 40" in warning
    assert f"warning: {warning}" in str(found)


@pytest.mark.parametrize(
    ("loader", "options", "words"),
    [
        ([], {}, "the loader gave no images"),
        ([(2 * smooth(2), torch.zeros(2).long())], {}, "normalize="),
        ([(smooth(2), torch.tensor([0, 10]))], {}, "label 10 does not fit"),
        ([(smooth(2)[:, :1], torch.tensor([0, 1]))], {}, "leave 'saturate' out"),
        (
            [(smooth(2, side, side), torch.zeros(2).long()) for side in (32, 40)],
            {},
            r"\(40, 40\), the first one had \(32, 32\)",
        ),
        (batches(), {"max_samples": 0}, "max_samples=0 is too small"),
        (batches(), {"severities": [6]}, r"severities=\[6\]"),
        (batches(), {"corruptions": ["frist"]}, "Did you mean 'frost'"),
    ],
)
def test_bad_input(loader: Any, options: Any, words: str) -> None:
    given = {"corruptions": ["saturate"], "severities": [1], **options}
    with pytest.raises(ValueError, match=words):
        evaluate_corruptions(Brightness(), loader, **given)


def test_weights_in_double_precision_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).double()
    with pytest.raises(TypeError, match=r"float64 .* evaluate model\.float\(\)"):
        evaluate_corruptions(model, batches(), ["fog"])


def test_bytes_are_refused() -> None:
    loader = [(torch.zeros(2, 3, 32, 32).byte(), torch.zeros(2).long())]
    with pytest.raises(TypeError, match="uint8"):
        evaluate_corruptions(Brightness(), loader, ["fog"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with what `corrupt` makes of the images, as published files."""
    images, labels = sample_images()
    np.save(tmp_path / "labels.npy", np.tile(labels.numpy().astype(np.uint8), 5))
    for name in NAMES:
        parts = [corrupt(images, name, severity) for severity in (1, 2, 3, 4, 5)]
        values = (255 * torch.cat(parts)).round().byte().permute(0, 2, 3, 1)
        np.save(tmp_path / f"{name}.npy", values.numpy())
    return tmp_path


def test_published_files_take_the_place_of_corruptions(files: Path) -> None:
    expected = evaluate_corruptions(Brightness(), batches(), NAMES)
    found = evaluate_corruptions(Brightness(), batches(), NAMES, files=files)
    assert found.accuracies == expected.accuracies
    assert found.clean_accuracy == expected.clean_accuracy
    assert found.label.startswith(f"{files}, severities 1 2 3 4 5")
    again = evaluate_corruptions(Brightness(), batches(), NAMES, files=CifarC(files))
    assert again.to_json() == found.to_json()


def test_files_and_loader_have_to_fit(files: Path) -> None:
    def run(loader: Any, names: Any = NAMES) -> None:
        evaluate_corruptions(Brightness(), loader, names, files=files)

    with pytest.raises(FileNotFoundError, match=r"shot_noise\.npy is missing"):
        run(batches(), "common")
    with pytest.raises(ValueError, match="with shuffle=False"):
        run(batches()[::-1])
    with pytest.raises(ValueError, match="gives more than 12 images"):
        run(batches() + batches())
    large = [(images.repeat(1, 1, 2, 2), labels) for images, labels in batches()]
    with pytest.raises(ValueError, match="evaluate without resizing"):
        run(large)
