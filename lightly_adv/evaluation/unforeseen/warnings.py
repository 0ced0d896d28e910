"""Reasons to doubt accuracies under unforeseen attacks."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lightly_adv.evaluation.unforeseen.report import (
    CALIBRATED_CLASSES,
    CALIBRATED_SIZE,
    UnforeseenReport,
)

CALIBRATED_STEPS = 200
"""Number of steps that the calibration was made with."""

WIDEST = 10.0
"""Largest half width of a 95 % interval, in percent points, without a warning."""


def of(report: UnforeseenReport, *, probabilities: bool) -> Iterator[str]:
    """Yield warnings about a report.

    Args:
        report: The report.
        probabilities: Whether the model returned probabilities for all batches.
    """
    if probabilities:
        yield (
            "all outputs are non-negative and sum to 1: pass logits, not "
            "probabilities, or the gradients vanish and the accuracies are too high."
        )
    # Of a share of one half, where it is widest.
    width = 100 * 1.96 * math.sqrt(0.25 / report.num_samples)
    if width > WIDEST:
        yield (
            f"there are only {report.num_samples} images, so that an accuracy is "
            f"uncertain by up to {min(width, 50.0):.0f} points (95 %); evaluate more."
        )
    if any(attack.ata is not None for attack in report.attacks):
        yield from _calibration(report)


def _calibration(report: UnforeseenReport) -> Iterator[str]:
    (height, width), classes = report.image_size, report.num_classes
    if report.image_size != CALIBRATED_SIZE:
        yield (
            f"the images are {height} x {width}; the strengths are those for 32 x "
            "32, so there is no UAR."
        )
    elif classes != CALIBRATED_CLASSES:
        yield (
            f"there are {classes} classes; the calibration was made for CIFAR-10, so "
            "there is no UAR."
        )
    elif report.steps < CALIBRATED_STEPS:
        yield (
            f"{report.steps} steps are fewer than the {CALIBRATED_STEPS} that the "
            "calibration was made with, so that the UAR is too high."
        )
