"""The checks of the doctor, in the order in which they are made and shown."""

from __future__ import annotations

from lightly_adv.doctor.checks.backbone import backbone
from lightly_adv.doctor.checks.batch_norm import batch_norm
from lightly_adv.doctor.checks.cost import cost
from lightly_adv.doctor.checks.data import data
from lightly_adv.doctor.checks.device import device
from lightly_adv.doctor.checks.eps import eps
from lightly_adv.doctor.checks.gradient import gradient
from lightly_adv.doctor.checks.images import images
from lightly_adv.doctor.checks.isolation import isolation
from lightly_adv.doctor.checks.labels import labels
from lightly_adv.doctor.checks.loss import loss
from lightly_adv.doctor.checks.precision import precision
from lightly_adv.doctor.checks.repeatable import repeatable
from lightly_adv.doctor.checks.training_step import training_step
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import CheckFunction

CHECKS: tuple[CheckFunction[Probe], ...] = (
    device,
    data,
    images,
    backbone,
    eps,
    labels,
    training_step,
    isolation,
    gradient,
    loss,
    repeatable,
    batch_norm,
    precision,
    cost,
)
"""The checks that `diagnose` makes by default."""
