"""What the report says of honest classifiers, and of defences that are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.evaluation import RobustnessReport, Suite, evaluate_robustness
from lightly_adv.evaluation.suites import apgd, pgd
from lightly_adv.threat_model import ThreatModel
from tests.evaluation.checks.digits import loader, trained

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

WIDE = ThreatModel(eps=0.2)


class Defended(nn.Module):
    """Answers in another way than the model inside."""

    def __init__(self, model: nn.Module, answer: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self.answer = answer

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.model, images)


def saturated(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = 1e4 * model(images)
    return logits


def randomised(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = model(images + 0.2 * torch.randn_like(images))
    return logits


def rounded(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = model((4 * images).round() / 4)
    return logits


def adapted(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = model(images)
    return (logits - logits.mean(0)) / (logits.std(0) + 1e-6)


def softmax(model: nn.Module, images: Tensor) -> Tensor:
    probabilities: Tensor = model(images).softmax(dim=1)
    return probabilities


def warned(report: RobustnessReport) -> set[str]:
    found = {check.name for check in report.checks if check.status == "WARN"}
    assert len(report.warnings) == len(found)
    for check in report.checks:
        assert bool(check.remedy) == (check.status == "WARN")
        assert (check.warning in report.warnings) == (check.status == "WARN")
    return found


@pytest.mark.parametrize(
    ("threat_model", "suite"),
    [
        (ThreatModel(eps=0.1), "pgd-20"),
        (ThreatModel(eps=0.04), apgd(steps=10)),
        (ThreatModel(norm="L2", eps=0.5), "pgd-20"),
    ],
    ids=["Linf", "apgd", "L2"],
)
def test_an_honest_robust_model_passes(
    threat_model: ThreatModel, suite: str | Suite
) -> None:
    report = evaluate_robustness(
        trained(attacked=True),
        loader(),
        threat_model,
        suite=suite,
        surrogate=trained(attacked=False),
    )
    assert 30 < report.robust_accuracy < report.clean_accuracy
    assert report.warnings == []
    assert {check.status for check in report.checks} == {"PASS"}
    assert len(report.checks) == 11


@pytest.mark.parametrize("eps", [0.04, 0.1, 0.2])
def test_an_honest_model_that_is_not_robust_passes(eps: float) -> None:
    report = evaluate_robustness(
        trained(attacked=False), loader(), ThreatModel(eps=eps)
    )
    assert report.robust_accuracy < report.clean_accuracy - 5
    assert report.warnings == []
    skipped = [check.name for check in report.checks if check.status == "SKIP"]
    assert skipped == ["transfer"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (saturated, {"zero gradients", "large eps", "black box", "transfer"}),
        (rounded, {"zero gradients", "large eps", "black box", "transfer"}),
    ],
)
def test_defences_that_hide_the_gradient_are_caught(
    answer: Callable[..., Tensor], expected: set[str]
) -> None:
    model = trained(attacked=False)
    defended = Defended(model, answer)
    report = evaluate_robustness(defended, loader(), WIDE, surrogate=model)
    assert report.robust_accuracy > 80, (
        "that is what it claims, and the truth is about 0"
    )
    assert warned(report) == expected
    assert "the gradient is exactly 0 at 2" in str(report)


def test_a_random_defence_is_caught() -> None:
    defended = Defended(trained(attacked=False), randomised)
    report = evaluate_robustness(defended, loader(), ThreatModel(eps=0.1))
    assert "random outputs" in warned(report)
    assert warned(report) <= {
        "random outputs", "zero eps", "more steps", "restarts", "black box"
    }  # fmt: skip
    (batch_size,) = (c for c in report.checks if c.name == "batch size")
    assert batch_size.status == "SKIP"


def test_a_model_that_adapts_to_the_batch_is_caught() -> None:
    defended = Defended(trained(attacked=False), adapted)
    report = evaluate_robustness(defended, loader(), ThreatModel(eps=0.1))
    assert "batch size" in warned(report)
    assert not warned(report) & {"random outputs", "zero gradients", "large eps"}


def test_probabilities_are_said_once() -> None:
    defended = Defended(trained(attacked=False), softmax)
    report = evaluate_robustness(defended, loader(), ThreatModel(eps=0.04))
    assert warned(report) == {"probabilities"}
    assert len(report.warnings) == 1


def test_steps_that_are_too_short_or_too_few_are_caught() -> None:
    for suite in (pgd(steps=20, step_size=0.001), pgd(steps=2)):
        report = evaluate_robustness(
            trained(attacked=False), loader(), ThreatModel(eps=0.1), suite=suite
        )
        assert warned(report) == {"loss curve"}


def test_smoke_looks_at_nothing_but_says_that_it_saw_probabilities() -> None:
    defended = Defended(trained(attacked=False), saturated)
    report = evaluate_robustness(defended, loader(), WIDE, suite="smoke")
    assert report.warnings == []
    assert [check.name for check in report.checks] == ["probabilities"]
    defended = Defended(trained(attacked=False), softmax)
    report = evaluate_robustness(defended, loader(), WIDE, suite="smoke")
    assert warned(report) == {"probabilities"}
