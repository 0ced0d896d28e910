"""Checks of whether attacks get gradients to follow."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightly_adv.attacks import PGD, ClassificationObjective
from lightly_adv.attacks.gradients import loss_and_gradients
from lightly_adv.errors import UnreachedError
from lightly_adv.evaluation.checks import significance
from lightly_adv.evaluation.checks.check import Check, SkipError
from lightly_adv.evaluation.checks.check_context import CheckContext
from lightly_adv.functional import norms
from lightly_adv.threat_model import ThreatModel

STEPS_AT_LARGE_EPS = 10


def zero_gradients(context: CheckContext) -> Check:
    """Count correct images at which the gradient of the cross-entropy is exactly 0."""
    rows = context.correct_rows
    if not len(rows):
        raise SkipError(significance.NONE_CORRECT)
    count, entries = 0, 0.0
    for part in context.parts(rows):
        objective = ClassificationObjective(context.model, context.labels[part])
        try:
            with torch.enable_grad():
                views = [context.images[part].clone()]
                _, (grad,) = loss_and_gradients(objective, views, [True])
        except UnreachedError:
            grad = None
        zero = (torch.zeros_like(views[0]) if grad is None else grad) == 0
        count += int(zero.flatten(1).all(dim=1).sum())
        entries += float(zero.flatten(1).double().mean(dim=1).sum())
    total = len(rows)
    return significance.judge(
        "zero gradients",
        count,
        total,
        message=f"the gradient is exactly 0 at {count} of {total} correct images",
        remedy="A gradient attack cannot move there: look for logits so large "
        "that the softmax saturates, for rounding and for other steps without a slope; "
        "evaluate a version without them, or with 'autoattack-standard', whose Square "
        "needs no gradient.",
        values={"share of zero entries": entries / total},
    )


def large_eps(context: CheckContext) -> Check:
    """Check that accuracy drops to about 0 where images may turn grey all over."""
    correct = int(context.correct.sum())
    if not correct:
        raise SkipError(significance.NONE_CORRECT)
    wide = _wide(context)
    if context.threat_model.eps >= wide.eps:
        left, total = int(context.robust.sum()), correct
        text = "after the suite, whose eps is that large,"
    else:
        rows = context.correct_rows
        attack = PGD(wide, steps=STEPS_AT_LARGE_EPS)
        found = context.attacked(attack, rows, key="large eps")
        left, total = int((~found.wrong.any(dim=0)).sum()), len(rows)
        text = f"at {wide.norm} {wide.eps:.4g} after PGD with {attack.steps} steps"
    return significance.judge(
        "large eps",
        left,
        total,
        message=f"{text} {left} of {total} correct images are still robust",
        remedy="No model can be right there, so the attack does not work on this one: "
        "its gradients mislead, and the robust accuracy means nothing. Look for "
        "saturated, rounded or random parts.",
        values={"eps": max(wide.eps, context.threat_model.eps)},
    )


def _wide(context: CheckContext) -> ThreatModel:
    """Return a ball that reaches the grey image from everywhere."""
    model = context.threat_model
    low, high = model.bounds
    count = context.images[0].numel()
    spread = norms.norm_of_ones(count, norm=model.norm)
    return replace(model, eps=(high - low) / 2 * spread)
