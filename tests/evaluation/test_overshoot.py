"""Pixels outside of the bounds, which no attack moves, are told of in the report."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.evaluation.overshoot import Overshoot
from lightly_adv.evaluation.transfer import measure_transfer

Batches = list[tuple[Tensor, Tensor]]


def overshooting() -> Batches:
    """Of the first batch 1 of 48 pixels is too bright, of the second one 1 of 96."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 4, 4, generator=generator)
    images[:4, 0, 0, 0] = torch.linspace(1.02, 1.05, 4)
    images[4:6, 0, 0, 0] = -0.03
    labels = torch.arange(8) % 2
    return list(zip(torch.split(images, 4), torch.split(labels, 4), strict=True))


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


def test_the_report_warns_once_of_all_images() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said batch by batch
        report = evaluate_robustness(classifier(), overshooting(), ThreatModel())
    (warning,) = (each for each in report.warnings if "overshoot" in each)
    assert warning.startswith("1.6 % of the pixels")
    for part in ("[-0.03, 1.05]", "may be too high", "clamp the images"):
        assert part in warning


def test_images_inside_give_no_warning() -> None:
    batches = [(images.clamp(0, 1), labels) for images, labels in overshooting()]
    report = evaluate_robustness(classifier(), batches, ThreatModel())
    assert not any("overshoot" in each for each in report.warnings)
    overshoot = Overshoot(ThreatModel())
    assert [labels.tolist() for _, labels in overshoot.of(batches)] == [
        [0, 1, 0, 1]
    ] * 2
    assert overshoot.warnings() == []


def test_a_transfer_warns_once() -> None:
    models = {"one": classifier(), "other": classifier()}
    attack = PGD(ThreatModel(), steps=1)
    with pytest.warns(UserWarning, match="overshoot") as caught:
        measure_transfer(models, overshooting(), attack)
    assert len(caught) == 1
