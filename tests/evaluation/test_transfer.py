from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.evaluation import TransferReport, measure_transfer
from lightly_adv.isolation import rng
from lightly_adv.models import IMAGENET_NORMALIZE, Normalize
from lightly_adv.pretext import PretextTask, create_pretext_task
from lightly_adv.pretext.ensemble import PretextEnsemble
from tests.pretext.tiny import BrightTask, CroppedTask, TinyNet

ATTACK = PGD(ThreatModel(eps=0.1), steps=3, random_start=False)


class Half(nn.Module):
    """Two classes, told apart by the mean of one half of the image."""

    def __init__(self, columns: slice) -> None:
        super().__init__()
        self.columns = columns
        self.weight = nn.Parameter(torch.tensor([[-1.0], [1.0]]))

    def forward(self, images: Tensor) -> Tensor:
        mean = images[..., self.columns].mean(dim=(1, 2, 3))
        return (mean - 0.5)[:, None] @ self.weight.T


class Turned(PretextTask):
    """Was the image turned upside down? Looks at the brightness at the top."""

    def __init__(self, *, moved: bool = True) -> None:
        super().__init__(nn.Flatten())
        self.moved = moved

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        targets = torch.randint(2, (len(images),), generator=generator)
        return self.restore(images, targets), targets

    def forward(self, inputs: Tensor) -> Tensor:
        score = inputs[:, :, :4].mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([score, -score], dim=1)

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if not self.moved:
            return inputs
        turned = targets.bool()[:, None, None, None]
        return torch.where(turned, inputs.flip(2), inputs)


LEFT, RIGHT = slice(0, 4), slice(4, 8)
GRID: dict[str, dict[str, Any]] = {
    "jigsaw": {"grid": 2, "num_permutations": 3},
    "selfie": {"grid": 2, "num_masked": 2, "stages": None, "depth": 1},
}


def labelled(count: int = 8, *, gap: float = 0.05) -> list[tuple[Tensor, Tensor]]:
    """Grey images, a little brighter where the label is 1, in two batches."""
    labels = torch.arange(count) % 2
    images = torch.full((count, 3, 8, 8), 0.5)
    images += (gap * (2 * labels - 1))[:, None, None, None]
    return [(images[:6], labels[:6]), (images[6:], labels[6:])]


def bright_above(count: int = 6) -> list[Tensor]:
    images = torch.full((count, 3, 8, 8), 0.45)
    images[:, :, :4] = 0.55
    return [images]


def test_classifiers_that_look_at_different_places() -> None:
    models = {"left": Half(LEFT), "right": Half(RIGHT)}
    found = measure_transfer(models, labelled(), ATTACK)
    assert found.names == ("left", "right")
    assert found.clean_accuracy == (100.0, 100.0)
    assert found.accuracy == ((0.0, 100.0), (100.0, 0.0))
    assert torch.tensor(found.cosine).allclose(torch.eye(2))
    assert found.num_samples == 8


def test_a_schedule_stands_for_its_final_attack() -> None:
    models = {"left": Half(LEFT), "right": Half(RIGHT)}
    expected = measure_transfer(models, labelled(), ATTACK).to_json()
    found = measure_transfer(models, labelled(), AttackSchedule(ATTACK, ramp=1.0))
    assert found.to_json() == expected


def test_equal_classifiers() -> None:
    models = {name: Half(LEFT) for name in "ab"}
    found = measure_transfer(models, labelled(), ATTACK)
    assert found.accuracy == ((0.0, 0.0), (0.0, 0.0))
    assert torch.tensor(found.cosine).allclose(torch.ones(2, 2))


def test_classifiers_that_overlap() -> None:
    models = {"all": Half(slice(None)), "left": Half(LEFT)}
    found = measure_transfer(models, labelled(gap=0.06), ATTACK)
    # Half of the pixels move by 0.1, on average too little to mislead the first.
    assert found.accuracy == ((0.0, 0.0), (100.0, 0.0))
    assert found.cosine[0][1] == pytest.approx(0.5**0.5)


def test_opposed_classifiers() -> None:
    models = {"one": Half(LEFT), "other": Half(LEFT)}
    with torch.no_grad():
        models["other"].weight.neg_()
    found = measure_transfer(models, labelled(), ATTACK)
    assert found.clean_accuracy == (100.0, 0.0)
    assert found.cosine[0][1] == pytest.approx(-1)


def test_tasks_are_compared_in_the_image() -> None:
    """Both look at the same pixels, whichever way round they see them."""
    tasks = {"turned": Turned(), "again": Turned(), "still": Turned(moved=False)}
    found = measure_transfer(tasks, bright_above(), ATTACK)
    assert found.clean_accuracy[0] == 100.0
    assert found.accuracy[0][:2] == (0.0, 0.0)
    assert found.cosine[0][1] == pytest.approx(1)
    # The third is not turned but asked the same, and darkens the top where the others
    # brighten the bottom.
    assert -1 < found.cosine[0][2] < 1


@pytest.mark.parametrize("name", ["rotation", "jigsaw", "selfie"])
def test_own_perturbations_are_those_of_the_task(name: str) -> None:
    task, images = small_task(name).eval(), torch.rand(8, 3, 8, 8)
    found = measure_transfer({"a": task, "b": task}, [images], ATTACK, seed=3)
    inputs, targets = task.draw(images, rng.batch_generator(3, 0, 0))
    clean = task.accuracy(task.logits(inputs, targets), targets)
    (perturbed,) = ATTACK(lambda views: task.loss(views[0], targets), [inputs])
    robust = float(task.accuracy(task.logits(perturbed, targets), targets))
    assert found.clean_accuracy == (float(clean), float(clean))
    assert found.accuracy == ((robust, robust), (robust, robust))
    assert torch.tensor(found.cosine).allclose(torch.ones(2, 2))


def test_tasks_that_change_values_stay_in_range() -> None:
    """What fits the darkened half does not fit the bright image."""
    seen: list[Tensor] = []

    class Watching(BrightTask):
        def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
            seen.append(inputs.detach())
            return super().logits(inputs, targets)

        def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return inputs

    tasks = {name: Watching(TinyNet()) for name in "ab"}
    measure_transfer(tasks, [torch.full((4, 3, 8, 8), 0.98)], ATTACK)
    assert all(0 <= float(each.min()) <= float(each.max()) <= 1 for each in seen)


def test_nothing_is_left_behind() -> None:
    """Weights, statistics, flags, gradients and random states are what they were."""
    ensemble = PretextEnsemble(["jigsaw", "selfie"], TinyNet(), task_options=GRID)
    convert_dual_batchnorm(ensemble)
    before = {key: value.clone() for key, value in ensemble.state_dict().items()}
    state = torch.get_rng_state()
    with torch.inference_mode():
        images = torch.rand(5, 3, 8, 8)
        first = measure_transfer(ensemble.tasks, [images], ATTACK)
    torch.set_rng_state(state)
    again = measure_transfer(ensemble.tasks, [images.clone()], ATTACK)
    assert torch.equal(state, torch.get_rng_state())
    assert (first.accuracy, first.cosine) == (again.accuracy, again.cosine)
    assert all(torch.equal(before[k], v) for k, v in ensemble.state_dict().items())
    assert ensemble.training
    assert all(p.requires_grad and p.grad is None for p in ensemble.parameters())


def test_normalized_images_are_perturbed_in_pixels() -> None:
    """The same pixels, told in other numbers."""
    mean, std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.4)
    layer = Normalize({"mean": mean, "std": std})
    back = Normalize(
        {"mean": [-m / s for m, s in zip(mean, std, strict=True)],
         "std": [1 / s for s in std]}
    )  # fmt: skip
    models = {"all": Half(slice(None)), "left": Half(LEFT)}
    plain = measure_transfer(models, labelled(gap=0.06), ATTACK)
    threat_model = ThreatModel(eps=0.1, normalize={"mean": mean, "std": std})
    found = measure_transfer(
        {name: nn.Sequential(back, model) for name, model in models.items()},
        [(layer(images), labels) for images, labels in labelled(gap=0.06)],
        PGD(threat_model, steps=3, random_start=False),
    )
    assert found.accuracy == plain.accuracy
    assert torch.tensor(found.cosine).allclose(torch.tensor(plain.cosine))


def test_as_many_images_as_asked_for() -> None:
    models = {name: Half(LEFT) for name in "ab"}
    for limit, expected in ((3, 3), (7, 7), (100, 8)):
        found = measure_transfer(models, labelled(), ATTACK, max_samples=limit)
        assert found.num_samples == expected
    assert found.label == "PGD-3, Linf 0.1, 8 images"


def test_the_report_as_json_and_as_a_figure() -> None:
    models = {"left": Half(LEFT), "right": Half(RIGHT)}
    found = measure_transfer(models, labelled(), ATTACK)
    content = json.loads(found.to_json())
    assert content["names"] == ["left", "right"]
    assert content["accuracy"] == [[0.0, 100.0], [100.0, 0.0]]
    assert content["attack"]["steps"] == 3
    assert TransferReport.from_json(found.to_json()).to_json() == found.to_json()
    pytest.importorskip("matplotlib")
    axes = found.figure().axes
    texts = {text.get_text() for part in axes for text in part.texts}
    assert {"100.0", "0.0", "1.00", "0.00"} <= texts
    names = {label.get_text() for part in axes for label in part.get_yticklabels()}
    assert {"left", "right"} <= names


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["rotation"], ValueError, "expected at least two"),
        (["rotation", "classifier"], ValueError, "classifiers, which answer"),
        (["rotation", "cropped"], ValueError, r"\(4, 3, 4, 4\), but the images are"),
        (["rotation", "bright"], NotImplementedError, "restore"),
    ],
)
def test_models_that_cannot_be_compared(
    names: list[str], error: type[Exception], words: str
) -> None:
    class Cropped(CroppedTask):
        def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return inputs

    every: dict[str, nn.Module] = {
        "rotation": small_task("rotation"),
        "classifier": Half(LEFT),
        "cropped": Cropped(TinyNet()),
        "bright": BrightTask(TinyNet()),
    }
    with pytest.raises(error, match=words):
        measure_transfer(
            {name: every[name] for name in names}, [torch.rand(4, 3, 8, 8)], ATTACK
        )


def test_arguments_that_cannot_be_meant() -> None:
    models = {name: small_task("rotation") for name in "ab"}
    normalized = PGD(ThreatModel(normalize=IMAGENET_NORMALIZE))
    with pytest.raises(ValueError, match="normalise inside"):
        measure_transfer(models, [torch.rand(4, 3, 8, 8)], normalized)
    with pytest.raises(ValueError, match="max_samples=0"):
        measure_transfer(models, [torch.rand(4, 3, 8, 8)], ATTACK, max_samples=0)
    with pytest.raises(ValueError, match="no images"):
        measure_transfer(models, [], ATTACK)
    with pytest.raises(TypeError, match="a batch are a dict"):
        measure_transfer(models, [{"x": 1}], ATTACK)
    wrong: Any = "pgd"
    with pytest.raises(TypeError, match=r"attack is a str; expected .*PGD\("):
        measure_transfer(models, [torch.rand(4, 3, 8, 8)], wrong)


def small_task(name: str) -> PretextTask:
    torch.manual_seed(0)
    return create_pretext_task(name, backbone=TinyNet(), **GRID.get(name, {}))


CALLS = {"done": 0, "most": 10**9}
"""Outside of the models, which an evaluation leaves as they were."""


class Stopped(Half):
    """Does not get farther than a number of forward passes."""

    def forward(self, images: Tensor) -> Tensor:
        CALLS["done"] += 1
        if CALLS["done"] > CALLS["most"]:
            raise KeyboardInterrupt
        return super().forward(images)


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    images = torch.rand(12, 3, 8, 8, generator=Generator().manual_seed(0))
    labels = torch.split(torch.arange(12) % 2, 4)
    loader = list(zip(torch.split(images, 4), labels, strict=True))

    def measure(
        seed: int = 0, state: Path | None = None, most: int = 10**9
    ) -> tuple[TransferReport, int]:
        models = {"left": Stopped(LEFT), "right": Stopped(RIGHT)}
        attack = PGD(ThreatModel(eps=0.1), steps=3)
        CALLS.update(done=0, most=most)
        report = measure_transfer(models, loader, attack, seed=seed, state=state)
        return report, CALLS["done"]

    state = tmp_path / "state"
    expected, passes = measure()
    with pytest.raises(KeyboardInterrupt):
        measure(state=state, most=int(0.85 * passes))
    assert len(json.loads(state.read_text())["batches"]) == 2
    report, rest = measure(state=state)
    assert report.to_json() == expected.to_json()
    assert rest < 0.7 * passes
    with pytest.raises(ValueError, match="differs in its seed"):
        measure(seed=1, state=state)
