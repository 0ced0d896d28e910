"""Checks of whether the gradients that attacks climb are there."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightly_adv.attacks import PGD, ClassificationObjective
from lightly_adv.attacks.gradients import loss_and_gradients
from lightly_adv.errors import UnreachedError
from lightly_adv.evaluation.checks import odds
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.subject import Subject
from lightly_adv.functional import norms
from lightly_adv.threat_model import ThreatModel

STEPS_AT_LARGE_EPS = 10


def zero_gradients(subject: Subject) -> Check:
    """Count right images at which the gradient of the cross-entropy is exactly 0."""
    rows = subject.right_rows
    if not len(rows):
        return Check("zero gradients", "SKIP", NONE_RIGHT)
    count, entries = 0, 0.0
    for part in subject.parts(rows):
        objective = ClassificationObjective(subject.model, subject.labels[part])
        try:
            with torch.enable_grad():
                views = [subject.images[part].clone()]
                _, (grad,) = loss_and_gradients(objective, views, [True])
        except UnreachedError:
            grad = None
        zero = (torch.zeros_like(views[0]) if grad is None else grad) == 0
        count += int(zero.flatten(1).all(dim=1).sum())
        entries += float(zero.flatten(1).double().mean(dim=1).sum())
    total = len(rows)
    return odds.judge(
        "zero gradients",
        count,
        total,
        message=f"the gradient is exactly 0 at {count} of {total} right images",
        remedy="An attack by gradients stands still there: look for logits so large "
        "that the softmax saturates, for rounding and for other steps without a slope; "
        "evaluate a version without them, or with 'autoattack-standard', whose Square "
        "needs no gradient.",
        values={"share of zero entries": entries / total},
    )


def large_eps(subject: Subject) -> Check:
    """Tell whether accuracy falls to about 0 where images may turn grey all over."""
    right = int(subject.right.sum())
    if not right:
        return Check("large eps", "SKIP", NONE_RIGHT)
    wide = _wide(subject)
    if subject.threat_model.eps >= wide.eps:
        left, total = int(subject.standing.sum()), right
        text = "after the suite, whose eps is that large,"
    else:
        rows = subject.right_rows
        attack = PGD(wide, steps=STEPS_AT_LARGE_EPS)
        found = subject.attacked(attack, rows, key="large eps")
        left, total = int((~found.wrong.any(dim=0)).sum()), len(rows)
        text = f"at {wide.norm} {wide.eps:.4g} after PGD with {attack.steps} steps"
    return odds.judge(
        "large eps",
        left,
        total,
        message=f"{text} {left} of {total} right images still stand",
        remedy="No model can be right there, so the attack does not work on this one: "
        "its gradients mislead, and the robust accuracy means nothing. Look for "
        "saturated, rounded or random parts.",
        values={"eps": max(wide.eps, subject.threat_model.eps)},
    )


def _wide(subject: Subject) -> ThreatModel:
    """Return a ball that reaches the grey image from everywhere."""
    model = subject.threat_model
    low, high = model.bounds
    count = subject.images[0].numel()
    spread = norms.norm_of_ones(count, norm=model.norm)
    return replace(model, eps=(high - low) / 2 * spread)


NONE_RIGHT = "no image is right without an attack"
