"""The checks of the doctor."""

from __future__ import annotations

from lightly_adv.doctor.checks import data, gradient, images, network, radius, step
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import CheckFunction

CHECKS: tuple[CheckFunction[Probe], ...] = (
    data.device,
    data.data,
    images.images,
    network.backbone,
    radius.eps,
    step.labels,
    step.training_step,
    step.isolation,
    gradient.gradient,
    gradient.loss,
    step.repeatable,
    network.batch_norm,
    gradient.precision,
    step.cost,
)
"""What `diagnose` checks by default, in the order in which it is checked and shown."""
