"""A small classifier, its report and its card."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.evaluation import (
    ResultCard,
    RobustnessReport,
    Suite,
    create_suite,
    evaluate_robustness,
    make_card,
)
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats

HALVES: NormalizeStats = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
THREAT_MODEL = ThreatModel(eps=8 / 255, normalize=HALVES)
NAMES = ["cat", "<dog>", "a|b"]

Batches = list[tuple[Tensor, Tensor]]


def classifier() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def batches(count: int = 24, size: int = 10) -> Batches:
    """Return images of which the classifier gets most right, some barely."""
    generator = torch.Generator().manual_seed(1)
    images = 2 * torch.rand(count, 3, 4, 4, generator=generator) - 1
    labels = classifier()(images).argmax(dim=1)
    labels[::5] = (labels[::5] + 1) % 3
    return list(zip(torch.split(images, size), torch.split(labels, size), strict=True))


def two() -> Suite:
    return create_suite("pgd", steps=3, restarts=2)


def report(data: Batches) -> RobustnessReport:
    return evaluate_robustness(classifier(), data, THREAT_MODEL, suite=two(), checks=())


def card(data: Batches, **options: Any) -> ResultCard:
    given: dict[str, Any] = {"curve_samples": 0, "example_count": 4, **options}
    return make_card(classifier(), data, report(data), suite=two(), **given)
