from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.attacks import FGSM, PGD, Attack
from lightly_adv.evaluation import (
    RobustnessReport,
    Suite,
    evaluate_robustness,
    robust_curve,
    suites,
)
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats, Objective, Views

NORMALIZE: NormalizeStats = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
Batch = tuple[Tensor, Tensor]


def linear(classes: int = 2, *, seed: int = 0) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, classes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def weights(model: nn.Sequential) -> tuple[Tensor, Tensor]:
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach(), layer.bias.detach()


def sample_images(
    count: int = 64, *, low: float = 0.0, high: float = 1.0, classes: int = 2
) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = low + (high - low) * torch.rand(count, 3, 4, 4, generator=generator)
    return images, torch.randint(classes, (count,), generator=generator)


def numpy_state() -> str:
    return str(np.random.get_state())


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def worst_margin(
    model: nn.Sequential, images: Tensor, labels: Tensor, threat_model: ThreatModel
) -> Tensor:
    """Smallest margin of a linear classifier of two classes, in closed form.

    For L2 it ignores the bounds, so the images must keep clear of them.
    """
    stats = threat_model.normalize or {"mean": [0.0] * 3, "std": [1.0] * 3}
    mean, std = (torch.tensor(stats[key])[:, None, None] for key in ("mean", "std"))
    views = (images - mean) / std
    weight, bias = weights(model)
    slope = (weight[labels] - weight[1 - labels]).view_as(images)
    offset = bias[labels] - bias[1 - labels]
    margin: Tensor = (slope * views).flatten(1).sum(1) + offset
    slope = slope / std  # per pixel
    if threat_model.norm == "L2":
        length: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
        return margin - threat_model.eps * length
    lower = torch.maximum(-images, torch.tensor(-threat_model.eps))
    upper = torch.minimum(1 - images, torch.tensor(threat_model.eps))
    change = torch.where(slope > 0, slope * lower, slope * upper)
    worst: Tensor = margin + change.flatten(1).sum(1)
    return worst


@pytest.mark.parametrize("normalize", [None, NORMALIZE])
@pytest.mark.parametrize(
    ("threat_model", "low", "high"),
    [
        (ThreatModel(norm="Linf", eps=0.03), 0.0, 1.0),
        (ThreatModel(norm="Linf", eps=0.2), 0.0, 1.0),
        (ThreatModel(norm="L2", eps=0.3), 0.31, 0.69),
    ],
)
def test_flags_equal_the_closed_form_of_a_linear_classifier(
    threat_model: ThreatModel, low: float, high: float, normalize: NormalizeStats | None
) -> None:
    threat_model = ThreatModel(threat_model.norm, threat_model.eps, normalize)
    model, (images, labels) = linear(), sample_images(low=low, high=high)
    margin = worst_margin(model, images, labels, threat_model)
    assert margin.abs().min() > 1e-4, "an image too close to call"
    views = images
    if normalize is not None:
        mean, std = (torch.tensor(normalize[k])[:, None, None] for k in ("mean", "std"))
        views = (images - mean) / std
    batches = [(views[:40], labels[:40]), (views[40:], labels[40:])]
    report = evaluate_robustness(model, batches, threat_model)
    clean = model(views).argmax(1) == labels
    assert torch.equal(report.flags["clean"], clean)
    assert torch.equal(report.flags["pgd"], margin > 0)
    assert report.clean_accuracy == 100 * clean.float().mean().item()
    assert 0 < report.robust_accuracy < report.clean_accuracy


def test_no_image_that_is_safe_by_proof_is_broken_with_several_classes() -> None:
    model, (images, labels) = linear(4), sample_images(classes=4)
    report = evaluate_robustness(model, [(images, labels)], ThreatModel(eps=0.02))
    logits = model(images)
    weight, _ = weights(model)
    others = weight[labels][:, None] - weight  # (B, C, pixels)
    margin = logits.gather(1, labels[:, None]) - logits - 0.02 * others.abs().sum(-1)
    margin = margin.scatter(1, labels[:, None], float("inf")).amin(1)
    assert bool(report.flags["pgd"][margin > 0].all())
    assert report.robust_accuracy < report.clean_accuracy


def test_at_eps_0_robust_equals_clean_even_if_verdicts_depend_on_the_batch() -> None:
    class Centred(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            features = images.flatten(1)[:, :2]
            return features - features.mean(0)

    # Of those above the mean, not all are above their own mean.
    images, labels = sample_images()
    batch = (images, torch.zeros_like(labels))
    report = evaluate_robustness(Centred(), [batch], ThreatModel(eps=0.0))
    assert torch.equal(report.flags["pgd"], report.flags["clean"])
    assert report.robust_accuracy == report.clean_accuracy > 0


def test_file_names_are_left_behind_and_any_loader_is_taken() -> None:
    images, labels = sample_images()
    model, threat_model = linear(), ThreatModel(eps=0.03)
    expected = evaluate_robustness(model, [(images, labels)], threat_model)
    named = [[images, labels.int(), ["a.png"] * len(images)]]
    loader = DataLoader(TensorDataset(images, labels), batch_size=10)
    for batches in (named, loader):
        report = evaluate_robustness(model, batches, threat_model)
        assert torch.equal(report.flags["pgd"], expected.flags["pgd"])


def test_max_samples_takes_the_first_images() -> None:
    images, labels = sample_images()
    batches = [(images[i : i + 10], labels[i : i + 10]) for i in range(0, 60, 10)]
    model, threat_model = linear(), ThreatModel(eps=0.03)
    whole = evaluate_robustness(model, batches, threat_model)
    part = evaluate_robustness(
        model, batches, threat_model, suite=suites.smoke(max_samples=25)
    )
    assert part.num_samples == 25
    assert torch.equal(part.flags["clean"], whole.flags["clean"][:25])
    for limit in (20, 40):  # fewer and more than the suite asks for
        own = evaluate_robustness(
            model,
            batches,
            threat_model,
            suite=suites.smoke(max_samples=25),
            max_samples=limit,
        )
        assert own.num_samples == limit
    seen = []
    stream = (seen.append(i) or batch for i, batch in enumerate(batches))  # type: ignore[func-returns-value]
    evaluate_robustness(
        model, stream, threat_model, suite=suites.pgd(steps=1, max_samples=20)
    )
    assert seen == [0, 1]


@dataclass(frozen=True)
class Recorder(FGSM):
    """An attack that takes note of how many images it gets."""

    counts: list[int] = field(default_factory=list)

    def perturb_views(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]:
        self.counts.append(len(views[0]))
        assert objective(views).shape == (len(views[0]),)
        return super().perturb_views(objective, views, generator=generator)


def test_an_attack_meets_only_what_withstood_those_before_it() -> None:
    counts: list[int] = []

    def attacks(threat_model: ThreatModel) -> dict[str, Attack]:
        return {
            "first": Recorder(threat_model, counts=counts),
            "second": Recorder(threat_model, random_start=True, counts=counts),
        }

    report = evaluate_robustness(
        linear(), [sample_images()], ThreatModel(eps=0.03), suite=Suite("two", attacks)
    )
    clean, first, second = (int(flag.sum()) for flag in report.flags.values())
    assert counts == [clean, first]
    assert clean > first >= second
    assert report.robust_accuracy == 100 * second / 64


def test_an_attack_is_not_run_where_nothing_stands() -> None:
    images, _ = sample_images()
    wrong = 1 - linear()(images).argmax(1)
    report = evaluate_robustness(linear(), [(images, wrong)], ThreatModel(eps=0.03))
    assert report.clean_accuracy == report.robust_accuracy == 0


def test_restarts_run_on_what_withstood_the_ones_before() -> None:
    model, batch = convolutional(), sample_images(classes=3)
    once, often = (
        evaluate_robustness(
            model,
            [batch],
            ThreatModel(eps=0.05),
            suite=suites.pgd(steps=1, restarts=restarts),
        )
        for restarts in (1, 8)
    )
    assert list(often.flags)[:3] == ["clean", "pgd", "pgd-2"]
    assert torch.equal(often.flags["pgd"], once.flags["pgd"])
    assert often.robust_accuracy < once.robust_accuracy
    assert often.suite == "pgd-1x8"


def test_the_model_is_left_bit_for_bit_as_it_was() -> None:
    model = convolutional()
    model[0].bias.requires_grad_(False)
    model[1].eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [part.training for part in model.modules()]
    evaluate_robustness(model, [sample_images(classes=3)], ThreatModel(eps=0.03))
    assert [part.training for part in model.modules()] == flags
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [True, False] + [True] * 4
    assert all(p.grad is None for p in model.parameters())


def test_parameters_need_no_gradient_while_attacked() -> None:
    seen: set[bool] = set()

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear()

        def forward(self, images: Tensor) -> Tensor:
            seen.update(parameter.requires_grad for parameter in self.parameters())
            logits: Tensor = self.linear(images)
            return logits

    evaluate_robustness(Watched(), [sample_images()], ThreatModel(eps=0.03))
    assert seen == {False}


def test_the_model_is_put_back_after_an_error() -> None:
    model = convolutional()
    images, labels = sample_images(classes=3)
    batches: list[Any] = [(images, labels), {"image": images}]
    with pytest.raises(TypeError):
        evaluate_robustness(model, batches, ThreatModel(eps=0.03))
    assert all(part.training for part in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_batch_norm_and_dropout_are_in_eval_mode() -> None:
    model, (images, labels) = convolutional(), sample_images(classes=3)
    report = evaluate_robustness(model, [(images, labels)], ThreatModel(eps=0.03))
    expected = model.eval()(images).argmax(1) == labels
    assert torch.equal(report.flags["clean"], expected)


def test_global_random_states_are_left_alone_and_results_repeat() -> None:
    images, labels = sample_images(classes=3)
    dataset = TensorDataset(images, labels)
    loader = DataLoader(dataset, batch_size=16, shuffle=True)
    model, threat_model = convolutional(), ThreatModel(eps=0.05)
    reports = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        before = torch.get_rng_state(), random.getstate(), numpy_state()
        reports.append(evaluate_robustness(model, loader, threat_model))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert numpy_state() == before[2]
    for name in ("clean", "pgd"):
        assert torch.equal(reports[0].flags[name], reports[1].flags[name])


@pytest.mark.parametrize(
    "context", [torch.inference_mode, torch.no_grad, torch.enable_grad]
)
def test_any_grad_mode_gives_the_same_flags(context: Any) -> None:
    model, (images, labels) = convolutional(), sample_images(classes=3)
    threat_model = ThreatModel(eps=0.03)
    expected = evaluate_robustness(model, [(images, labels)], threat_model)
    with context():
        batches = [(images.clone(), labels.clone())]  # inference tensors
        report = evaluate_robustness(model, batches, threat_model)
        assert torch.is_inference_mode_enabled() == (context is torch.inference_mode)
    assert torch.equal(report.flags["pgd"], expected.flags["pgd"])
    assert report.robust_accuracy < report.clean_accuracy


def test_autocast_is_switched_off_and_reported() -> None:
    dtypes = set()

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.linear(images)
            dtypes.add(logits.dtype)
            return logits

    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = evaluate_robustness(
            Watched(), [sample_images()], ThreatModel(eps=0.03)
        )
        assert torch.is_autocast_enabled("cpu")
    assert dtypes == {torch.float32}
    (warning,) = report.warnings
    assert "autocast to torch.bfloat16 was on" in warning


def test_half_precision_weights_are_reported() -> None:
    images, labels = sample_images()
    report = evaluate_robustness(
        linear().bfloat16(), [(images.bfloat16(), labels)], ThreatModel(eps=0.03)
    )
    assert any("parameters of dtype torch.bfloat16" in w for w in report.warnings)


@pytest.mark.parametrize(
    ("weights", "given"),
    [
        (torch.float16, torch.float32),
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
    ],
)
def test_other_dtypes_are_refused_with_the_remedy(
    weights: torch.dtype, given: torch.dtype
) -> None:
    images, labels = sample_images()
    words = rf"weights of {weights} .* images of {given} .*; evaluate model\.float\(\)"
    with pytest.raises(TypeError, match=words):
        evaluate([(images.to(given), labels)], linear().to(weights))


def test_other_errors_of_half_models_are_not_blamed_on_the_dtype() -> None:
    class Full(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match=r"^CUDA out of memory"):
        evaluate([sample_images()], Full(1, 1).half())


def test_double_precision_and_models_that_convert_are_taken() -> None:
    class Converting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = linear().double()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.model(images.double())
            return logits

    images, labels = sample_images()
    expected = evaluate([(images.double(), labels)], linear().double())
    found = evaluate([(images, labels)], Converting())
    assert not expected.warnings
    for name, flags in expected.flags.items():
        assert torch.equal(flags, found.flags[name])
    assert 0 < found.robust_accuracy < found.clean_accuracy


def test_other_errors_of_a_model_are_its_own() -> None:
    images, labels = sample_images()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        evaluate([(images[:, :, :2], labels)])


def test_probabilities_are_reported() -> None:
    model = nn.Sequential(linear(), nn.Softmax(dim=1))
    report = evaluate_robustness(model, [sample_images()], ThreatModel(eps=0.03))
    (warning,) = report.warnings
    assert "pass logits, not probabilities" in warning
    assert not evaluate_robustness(linear(), [sample_images()], ThreatModel()).warnings


def test_progress_shows_images_and_robust_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate_robustness(linear(), [sample_images()], ThreatModel(eps=0.03))
    assert capsys.readouterr() == ("", "")
    loader = DataLoader(TensorDataset(*sample_images()), batch_size=32)
    report = evaluate_robustness(linear(), loader, ThreatModel(eps=0.03), progress=True)
    robust = int(report.flags["pgd"].sum())
    shown = capsys.readouterr().err
    assert "64/64" in shown
    assert f"robust={robust}" in shown


def test_curve_falls_and_begins_at_the_clean_accuracy() -> None:
    curve = robust_curve(
        linear(), [sample_images()], ThreatModel(), [0.0, 0.02, 0.1, 1.0]
    )
    values = [report.robust_accuracy for report in curve]
    assert values[0] == curve[0].clean_accuracy
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0
    assert [report.threat_model.eps for report in curve] == [0.0, 0.02, 0.1, 1.0]


def test_the_device_is_that_of_the_model_or_the_one_asked_for() -> None:
    report = evaluate_robustness(
        linear(), [sample_images()], ThreatModel(eps=0.03), device="cpu"
    )
    assert report.flags["pgd"].device == torch.device("cpu")


def evaluate(batches: Sequence[Any], model: nn.Module | None = None) -> Any:
    return evaluate_robustness(model or linear(), batches, ThreatModel(eps=0.03))


IMAGES, LABELS = sample_images()


class Returns(nn.Module):
    """Returns the same thing for all images."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: Tensor) -> Any:
        output = self.output
        return output[: len(images)] if isinstance(output, Tensor) else output


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (
            {"image": IMAGES, "label": LABELS},
            TypeError,
            r"a dict with the keys \['image', 'label'\]; expected \(images, labels\)",
        ),
        (IMAGES, TypeError, "a batch is a tensor of shape"),
        ((IMAGES,), TypeError, "a batch is a tuple of 1; expected"),
        (([IMAGES, IMAGES], LABELS), TypeError, "a list of 2; expected one tensor"),
        (
            ([IMAGES[0], IMAGES[0, :, :3]], LABELS[:2]),
            TypeError,
            r"shapes \(3, 3, 4\), \(3, 4, 4\): .* resize",
        ),
        ((list(IMAGES), LABELS), TypeError, r"of one shape, \(3, 4, 4\): .* stack"),
        ((IMAGES, ["cat"]), TypeError, "labels of a batch are a list of 1"),
        ((IMAGES, LABELS.float()), TypeError, "dtype torch.float32; expected a tensor"),
        ((IMAGES, LABELS[:, None]), TypeError, r"labels .* shape \(64, 1\)"),
        ((IMAGES, LABELS[:5]), ValueError, "64 images and 5 labels"),
        ((IMAGES, LABELS + 1), ValueError, "label 2 does not fit 2 logits; .* in test"),
        ((IMAGES, LABELS - 1), ValueError, "label -1 does not fit 2 logits"),
        (((IMAGES * 255).byte(), LABELS), TypeError, "dtype torch.uint8"),
        ((IMAGES * 255, LABELS), ValueError, "divide them by 255"),
    ],
)
def test_batches_that_cannot_be_meant(
    batch: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate([batch])


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (torch.zeros(64, 8, 2, 2), ValueError, "backbone without a classification"),
        (torch.zeros(2, 2), ValueError, r"expected logits of shape \(64, C\)"),
        (torch.full((64, 2), float("nan")), ValueError, "the logits hold NaN"),
        ((torch.zeros(64, 2),), TypeError, "returned a tuple of 1; expected logits"),
        (torch.zeros(64, 1), ValueError, r"of 1 class; .* torch\.cat\(\[-z, z\]"),
        (torch.zeros(64, 2), ValueError, "does not depend on any of the views"),
    ],
)
def test_outputs_that_cannot_be_meant(
    output: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate([(IMAGES, LABELS)], Returns(output))


@pytest.mark.parametrize("batches", [[], [(IMAGES[:0], LABELS[:0])]])
def test_an_empty_loader_is_refused(batches: list[Any]) -> None:
    with pytest.raises(ValueError, match="the loader gave no images"):
        evaluate(batches)


def test_a_function_is_no_model() -> None:
    with pytest.raises(TypeError, match=r"model is a function; expected a torch\.nn"):
        evaluate([(IMAGES, LABELS)], lambda images: images)  # type: ignore[arg-type]


def test_reports_say_what_was_run() -> None:
    report = evaluate_robustness(
        linear(), [sample_images()], ThreatModel(eps=8 / 255), suite="smoke", seed=7
    )
    assert isinstance(report, RobustnessReport)
    assert (report.suite, report.seed, report.num_samples) == ("smoke", 7, 64)
    assert report.attacks == {
        "pgd": {
            "type": "PGD",
            "steps": 10,
            "step_size": PGD(ThreatModel(eps=8 / 255)).resolved_step_size,
            "random_start": True,
            "start_std": None,
            "restarts": 1,
        }
    }


@pytest.mark.parametrize("suite", ["pgd-20", "apgd"])
def test_levels_of_255_give_what_images_in_0_to_1_give(suite: str) -> None:
    images, labels = sample_images(classes=3)
    levels = (255 * images).round()
    unit = evaluate_robustness(
        linear(3), [(levels / 255, labels)], ThreatModel(eps=2 / 255), suite=suite
    )
    scaled = evaluate_robustness(
        nn.Sequential(Scale(1 / 255), linear(3)),
        [(levels, labels)],
        ThreatModel(eps=2, bounds=(0, 255)),
        suite=suite,
    )
    assert 0 < unit.robust_accuracy < unit.clean_accuracy
    for name, flag in unit.flags.items():
        assert torch.equal(scaled.flags[name], flag)
    assert [(each.name, each.status) for each in scaled.checks] == [
        (each.name, each.status) for each in unit.checks
    ]


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return images * self.factor


@pytest.mark.parametrize("limit", [1, 40])
def test_only_the_first_images_are_evaluated(limit: int) -> None:
    loader = DataLoader(TensorDataset(*sample_images()), batch_size=32)
    whole = evaluate_robustness(linear(), loader, ThreatModel(eps=0.03), checks=())
    few = evaluate_robustness(
        linear(), loader, ThreatModel(eps=0.03), max_samples=limit, checks=()
    )
    assert few.num_samples == limit
    assert torch.equal(few.flags["clean"], whole.flags["clean"][:limit])
    with pytest.raises(ValueError, match="max_samples=0 is too small"):
        evaluate_robustness(linear(), loader, ThreatModel(), max_samples=0)
