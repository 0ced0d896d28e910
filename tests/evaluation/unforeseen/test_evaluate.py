"""Evaluations under unforeseen attacks: reports, warnings, states, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightly_adv.evaluation import UnforeseenReport, evaluate_unforeseen, statistics
from lightly_adv.evaluation.unforeseen import (
    Origin,
    UnforeseenAttack,
    create_unforeseen_attack,
    evaluate,
)
from lightly_adv.evaluation.unforeseen.attack import resolve
from tests.evaluation.counting import STEADY, Counting
from tests.evaluation.unforeseen.test_attacks import (
    classifier,
    generator,
    sample_images,
)

QUICK = ("l2", "fog")


def ten_classes() -> nn.Module:
    """Return a classifier that is right on half of what `batches` gives."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 10))


def batches(count: int = 3, size: int = 4, side: int = 32) -> list[tuple[Tensor, ...]]:
    images = torch.rand(count * size, 3, side, side, generator=generator(1))
    with torch.no_grad():
        labels = ten_classes()(images).argmax(dim=1)
    labels[::2] = (labels[::2] + 1) % 10
    places = [slice(first, first + size) for first in range(0, len(images), size)]
    return [(images[place], labels[place]) for place in places]


def test_reports_repeat_and_leave_the_model_alone() -> None:
    model = ten_classes().train()
    reports = [evaluate_unforeseen(model, batches(), QUICK, steps=2) for _ in range(2)]
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    first, again = (json.loads(each.to_json()) for each in reports)
    assert first == again
    assert first["rows"][0]["clean_accuracy"] == 50
    assert first["rows"][0]["suite"].endswith("unforeseen attacks, 2 steps")
    assert (first["batch_size"], first["device"]) == (4, "cpu")
    assert first["clean_interval"] == list(statistics.wilson(6, 12))
    weakest, *_, strongest = reports[0].accuracies["fog"]
    assert weakest > strongest
    expected = (
        100
        * sum(reports[0].accuracies["l2"])
        / sum(create_unforeseen_attack("l2").ata or ())
    )
    assert reports[0].uar == {"l2": pytest.approx(expected)}
    assert 0 < expected < 100


def test_batches_are_taken_as_one_by_one() -> None:
    whole = evaluate_unforeseen(ten_classes(), batches(), QUICK, steps=2)
    first = evaluate_unforeseen(ten_classes(), batches()[:1], QUICK, steps=2)
    for name, flags in first.flags.items():
        assert torch.equal(whole.flags[name][:, :4], flags)
    few = evaluate_unforeseen(ten_classes(), batches(), QUICK, steps=2, max_samples=6)
    assert few.num_samples == 6


def test_normalised_images_mean_the_same() -> None:
    half = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = ten_classes()

        def forward(self, images: Tensor) -> Any:
            return self.model(images / 2 + 0.5)

    plain = evaluate_unforeseen(ten_classes(), batches(1), ["linf"], steps=2)
    loader = [(images * 2 - 1, labels) for images, labels in batches(1)]
    found = evaluate_unforeseen(Inside(), loader, ["linf"], steps=2, normalize=half)
    assert torch.equal(found.flags["linf"], plain.flags["linf"])


class Stopped(Counting):
    """Does not get farther than a number of forward passes."""

    def __init__(self, passes: float = math.inf) -> None:
        super().__init__()
        self.model = ten_classes()
        self.passes = passes

    def forward(self, images: Tensor) -> Any:
        self.sizes.append(len(images))
        if self.done > self.passes:
            raise KeyboardInterrupt
        return self.model(images)


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    def run(model: nn.Module, **options: Any) -> UnforeseenReport:
        return evaluate_unforeseen(
            model, batches(), QUICK, steps=2, state=tmp_path / "state", **options
        )

    whole = Stopped()
    expected = evaluate_unforeseen(whole, batches(), QUICK, steps=2)
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(0.8 * whole.done))
    kept = json.loads((tmp_path / "state").read_text())["batches"]
    assert sorted(kept) == ["0", "1"]
    again = Stopped()
    assert run(again).to_json() == expected.to_json()
    passes = whole.done - STEADY  # of three batches
    assert again.done == pytest.approx(passes / 3 + STEADY, abs=1)
    with pytest.raises(ValueError, match="differs in its seed"):
        run(Stopped(), seed=1)
    other = [dataclasses.replace(create_unforeseen_attack("fog"), eps=(1.0,))]
    with pytest.raises(ValueError, match="differs in its attacks"):
        evaluate_unforeseen(
            Stopped(), batches(), other, steps=2, state=tmp_path / "state"
        )
    with pytest.raises(ValueError, match="does not hold the images"):
        evaluate_unforeseen(
            Stopped(), batches()[::-1], QUICK, steps=2, state=tmp_path / "state"
        )


@pytest.mark.parametrize(
    ("attack", "side", "words"),
    [
        ("l2", 32, ["12 images, so", "2 steps are fewer than"]),
        ("fog", 32, ["by up to 28 points"]),
        ("l2", 48, ["12 images", "48 x 48; the strengths are those for 32"]),
    ],
)
def test_warnings(attack: str, side: int, words: list[str]) -> None:
    found = evaluate_unforeseen(ten_classes(), batches(side=side), [attack], steps=2)
    assert len(found.warnings) == len(words)
    for warning, word in zip(found.warnings, words, strict=True):
        assert word in warning
        assert f"warning: {warning}" in str(found)


def test_probabilities_and_other_classes_are_told() -> None:
    model = nn.Sequential(classifier(), nn.Softmax(dim=1))
    loader = [(sample_images(), torch.arange(4))]
    found = evaluate_unforeseen(model, loader, ["jpeg_l2"], steps=1)
    text = "; ".join(found.warnings)
    assert "pass logits, not probabilities" in text
    assert "there are 5 classes" in text
    assert found.uar == {}
    assert found.mean_uar is None


def bad_logits(value: float) -> nn.Module:
    class Bad(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :10] * value

    return Bad()


def one_logit() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1))


@pytest.mark.parametrize(
    ("model", "loader", "options", "message"),
    [
        (
            ten_classes,
            [(sample_images(), torch.arange(4) + 7)],
            {},
            "label 10 does not fit",
        ),
        (
            ten_classes,
            [(sample_images(), torch.arange(4) - 1)],
            {},
            "label -1 does not fit",
        ),
        (lambda: bad_logits(math.nan), batches(1), {}, "the logits hold NaN"),
        (
            one_logit,
            [(sample_images(), torch.zeros(4).long())],
            {},
            "at least 2 classes",
        ),
        (ten_classes, [(2 * sample_images(), torch.arange(4))], {}, "normalize="),
        (ten_classes, [], {}, "the loader gave no images"),
        (ten_classes, batches(1), {"steps": 0}, "steps=0 is too small"),
        (ten_classes, batches(1), {"max_samples": 0}, "max_samples=0 is too small"),
    ],
)
def test_bad_input(model: Any, loader: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_unforeseen(model(), loader, QUICK, **{"steps": 1, **options})


def test_weights_in_double_precision_are_refused() -> None:
    with pytest.raises(TypeError, match=r"float64 .* evaluate model\.float\(\)"):
        evaluate_unforeseen(ten_classes().double(), batches(1), QUICK, steps=1)


@pytest.mark.parametrize(
    ("side", "attacks", "message"),
    [
        (3, ["fog"], "the images are 3 x 3; expected at least 4 x 4"),
        (24, ["fog", "jpeg_l1"], "multiples of 16"),
    ],
)
def test_sizes_are_refused_before_anything_is_attacked(
    monkeypatch: pytest.MonkeyPatch, side: int, attacks: list[str], message: str
) -> None:
    monkeypatch.setattr(evaluate, "attack_images", None)
    loader = [(sample_images(4, side, side), torch.arange(4))]
    with pytest.raises(ValueError, match=message):
        evaluate_unforeseen(classifier(), loader, attacks, steps=1)


def test_sizes_may_not_change() -> None:
    loader = [*batches(1), *batches(1, side=48)]
    with pytest.raises(ValueError, match=r"images of \(48, 48\), the first one had"):
        evaluate_unforeseen(ten_classes(), loader, ["fog"], steps=1)


def test_a_gradient_that_is_nan_is_an_error() -> None:
    class Root(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images.flatten(1)[:, :10] * 0).sqrt()

    loader = [(sample_images(), torch.zeros(4).long())]
    with pytest.raises(ValueError, match="gradient of the objective is NaN"):
        evaluate_unforeseen(Root(), loader, ["linf"], steps=1)


@pytest.mark.parametrize(
    ("attacks", "error", "message"),
    [
        (["elastik"], ValueError, "'elastik'. Did you mean 'elastic'"),
        (["jpeg"], ValueError, "Did you mean 'jpeg_l"),
        (["zzz"], ValueError, r"'zzz'\. Known: elastic, fog"),
        (["fog", "fog"], ValueError, "each once"),
        ([], ValueError, "expected one or more"),
        ("fog", ValueError, r"expected a list, \['fog'\]"),
        ([7], TypeError, "unforeseen attack is a int; expected a UnforeseenAttack"),
    ],
)
def test_names(attacks: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve(attacks)


@pytest.mark.parametrize(
    ("name", "eps", "message"),
    [
        ("linf", (8.0,), r"eps=8 .* at most 1 pixels\. Was it .* by 255"),
        ("gabor", (0.1, 1.5), "eps=1.5 of the attack 'gabor' is too large"),
        ("fog", (-1.0,), "not negative"),
        ("fog", (math.nan,), "finite"),
        ("fog", (), "one or more"),
    ],
)
def test_strengths(name: str, eps: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(create_unforeseen_attack(name), eps=eps)


def test_what_is_known_of_strengths_does_not_hold_for_others() -> None:
    known = create_unforeseen_attack("linf")
    weak = dataclasses.replace(known, name="weak", eps=(1e-5,) * 6)
    found = evaluate_unforeseen(ten_classes(), batches(), [weak, known], steps=1)
    assert list(found.uar) == ["linf"]
    attacks = json.loads(found.to_json())["attacks"]
    content = {attack["name"]: attack["origin"] for attack in attacks}
    again = UnforeseenReport.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.uar == found.uar
    assert (content["weak"]["ata"], content["weak"]["source"]) == (None, "own choice")
    assert content["linf"]["ata"] == [91.0, 87.8, 81.6, 71.3, 46.5, 23.1]
    assert "Kang et al." in content["linf"]["source"]
    other = dataclasses.replace(weak, name="other", eps=known.eps)
    assert other.ata == known.ata
    with pytest.raises(ValueError, match="2 strengths and 1 values of ata; expected"):
        Origin((0.1, 0.2), "a paper", (90.0,))


def test_own_strengths_have_rows_and_curves() -> None:
    weak = UnforeseenAttack(
        name="mist",
        parametrize=create_unforeseen_attack("fog").parametrize,
        eps=(0.0, 3.0),
        unit="haze",
    )
    found = evaluate_unforeseen(ten_classes(), batches(), [weak, "linf"], steps=1)
    assert found.flags["mist"].shape == (2, 12)
    assert torch.equal(found.flags["mist"][0], found.clean)
    assert [row["attack"] for row in found.table()] == ["mist", "linf"]
    axes = found.figure().axes
    assert [each.get_title(loc="left") for each in axes] == ["mist", "linf"]
    drawn = np.asarray(axes[0].lines[-1].get_ydata())
    assert drawn[0] == found.clean_accuracy
    assert [len(each.lines) for each in axes] == [2, 3]  # linf has the best there is
