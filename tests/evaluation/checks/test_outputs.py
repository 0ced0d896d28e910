"""How far two answers are apart, and classes that a model rules out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.evaluation.checks.outputs import (
    batch_size,
    difference,
    random_outputs,
    zero_eps,
)
from lightly_adv.threat_model import ThreatModel

INF = math.inf
LARGEST = torch.finfo(torch.float64).max


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0.0, 4.0], [0.0, 3.0], 0.25),
        ([0.0, 4.0, -INF], [0.0, 3.0, -INF], 0.25),
        ([-INF, 1.0, -INF], [-INF, 1.0, -INF], 0.0),
        ([-INF, -INF], [-INF, -INF], 0.0),
        ([INF, 1.0], [INF, 1.0], 0.0),
        ([0.0, 4.0, -INF], [0.0, 4.0, 1.0], LARGEST),
        ([0.0, 4.0, 1.0], [0.0, 4.0, -INF], LARGEST),
        ([0.0, 4.0, INF], [0.0, 4.0, -INF], LARGEST),
        ([0.0, 4.0], [0.0, math.nan], LARGEST),
    ],
)
def test_differences(one: list[float], other: list[float], expected: float) -> None:
    assert difference(torch.tensor([one]), torch.tensor([other])).tolist() == [expected]


class Masked(nn.Module):
    """Rules out two of five classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return torch.cat([logits, torch.full_like(logits[:, :2], -INF)], dim=1)


def test_a_model_that_rules_out_classes_is_not_random() -> None:
    model, images = Masked(), torch.rand(40, 3, 4, 4)
    report = evaluate_robustness(
        model,
        [(images, model(images).argmax(dim=1))],
        ThreatModel(eps=0.01),
        checks=(random_outputs, batch_size, zero_eps),
    )
    assert [check.status for check in report.checks] == ["PASS"] * 4
    assert report.warnings == []
