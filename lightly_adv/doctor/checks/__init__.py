"""The checks, in the order in which they are made and shown.

A check is a function from a `Patient` to findings. It raises `SkipError` where it
cannot be made for a reason that another check tells; other exceptions are findings.
"""

from __future__ import annotations

from lightly_adv.doctor.checks import (
    backbone,
    batch_norm,
    cost,
    data,
    device,
    gradient,
    images,
    isolation,
    labels,
    loss,
    precision,
    radius,
    repeat,
    step,
)
from lightly_adv.doctor.visit import Check

CHECKS: dict[str, Check] = {
    "device": device.check,
    "data": data.check,
    "images": images.check,
    "backbone": backbone.check,
    "eps": radius.check,
    "labels": labels.check,
    "training step": step.check,
    "isolation": isolation.check,
    "gradient": gradient.check,
    "loss": loss.check,
    "repeatable": repeat.check,
    "batch norm": batch_norm.check,
    "precision": precision.check,
    "cost": cost.check,
}
"""The checks by name, as they are printed."""
