"""Checks of what a model answers: they cost a few forward passes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lightly_adv.attacks import PGD
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.subject import MOST_ATTACKED, Subject

REPEATED = 1e-4
"""How far two answers to the same batch may differ, in their span over the classes."""

REGROUPED = 1e-2
"""How far they may differ in batches of other sizes, which are rounded otherwise."""


def probabilities(found: bool) -> Check:
    """Tell whether the model returns probabilities in place of logits.

    Args:
        found: Whether all outputs are non-negative and sum to 1.

    Examples:
        >>> probabilities(True).status
        'WARN'
    """
    if not found:
        return Check("probabilities", "PASS", "the outputs are logits")
    return Check(
        "probabilities",
        "WARN",
        "all outputs are non-negative and sum to 1",
        "Let the model pass logits, not probabilities, or the gradients vanish and it "
        "looks more robust than it is.",
    )


def random_outputs(subject: Subject) -> Check:
    """Tell whether the model answers differently when it is asked twice."""
    differences = _difference(subject.logits, subject.logits_again)
    count, total = int((differences > REPEATED).sum()), len(differences)
    figure = f"asked twice, the model changes its answer to {count} of {total} pictures"
    values = {"count": count, "of": total, "largest": float(differences.max())}
    if not count:
        return Check("random outputs", "PASS", figure, values=values)
    return Check(
        "random outputs",
        "WARN",
        figure,
        "One pass says little, and its gradient misleads: let the model draw the same "
        "numbers every time, or return the mean over many passes, and evaluate that.",
        values,
    )


def batch_size(subject: Subject) -> Check:
    """Tell whether the answer to a picture depends on those that it comes with."""
    total = len(subject.images)
    small = max(subject.batch_size // 4, 2)
    if small >= min(subject.batch_size, total):
        figure = f"there are no smaller batches than of {min(small, total)} pictures"
        return Check("batch size", "SKIP", figure)
    again = subject.logits_again
    if bool((_difference(subject.logits, again) > REPEATED).any()):
        figure = "the model answers differently even to the same batch"
        return Check("batch size", "SKIP", figure)
    differences = _difference(again, subject.ask(subject.images, batch_size=small))
    tolerance = max(REGROUPED, 4 * torch.finfo(again.dtype).eps ** 0.5)
    count = int((differences > tolerance).sum())
    figure = (
        f"in batches of {small} in place of {min(subject.batch_size, total)}, the "
        f"model changes its answer to {count} of {total} pictures"
    )
    values = {"count": count, "of": total, "largest": float(differences.max())}
    if not count:
        return Check("batch size", "PASS", figure, values=values)
    return Check(
        "batch size",
        "WARN",
        figure,
        "An attack on one picture then works through the others, and the number holds "
        "for this batch size only: let the model use fixed statistics, as BatchNorm "
        "in eval mode does.",
        values,
    )


def zero_eps(subject: Subject) -> Check:
    """Tell whether an attack that may not change anything leaves the clean accuracy."""
    attack = PGD(replace(subject.threat_model, eps=0.0), steps=1)
    rows = torch.arange(len(subject.images), device=subject.images.device)
    rows = rows[:MOST_ATTACKED]
    found = subject.attacked(attack, rows, key="zero eps")
    count = int((found.wrong[-1] == subject.right[rows].cpu()).sum())
    total = len(rows)
    figure = f"at eps 0 the verdict on {count} of {total} pictures is another"
    values = {"count": count, "of": total, "allowed": 1}
    if count <= 1:  # rounding may decide one that is too close to call
        return Check("zero eps", "PASS", figure, values=values)
    return Check(
        "zero eps",
        "WARN",
        figure,
        "Nothing but the model itself changes there: look for parts that draw numbers, "
        "adapt while they are evaluated, or depend on the batch.",
        values,
    )


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Return the largest difference for every picture, in the span of its logits."""
    one, other = one.double(), other.double()
    span = one.amax(dim=1) - one.amin(dim=1)
    # Where all logits are nearly equal, rounding is a large share of their span.
    scale = torch.maximum(span, 1e-2 * one.abs().amax(dim=1)).clamp(min=1e-12)
    found = (one - other).abs().amax(dim=1) / scale
    return found.nan_to_num(nan=torch.inf)
