"""Checks of the logits of a model; they cost a few forward passes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lightly_adv.attacks import PGD
from lightly_adv.evaluation.checks import significance
from lightly_adv.evaluation.checks.check import Check, SkipError
from lightly_adv.evaluation.checks.check_context import MOST_ATTACKED, CheckContext

REPEATED = 1e-4
"""How far two answers to the same batch may differ, in their span over the classes."""

REGROUPED = 1e-2
"""How far they may differ in batches of other sizes, which are rounded otherwise."""


def probabilities(found: bool) -> Check:
    """Check that the model returns logits, not probabilities.

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


def random_outputs(context: CheckContext) -> Check:
    """Check that the model answers the same when it is asked twice."""
    differences = difference(context.logits, context.logits_again)
    count, total = int((differences > REPEATED).sum()), len(differences)
    return significance.judge(
        "random outputs",
        count,
        total,
        message=f"asked twice, the model changes its answer to {count} of {total} "
        "images",
        remedy="One pass says little, and its gradient misleads: let the model draw "
        "the same numbers every time, or return the mean over many passes, and "
        "evaluate that.",
        values={"largest": float(differences.max())},
        most=0,
    )


def batch_size(context: CheckContext) -> Check:
    """Check that the answer to an image does not depend on those that it comes with."""
    total = len(context.images)
    small, large = max(context.batch_size // 4, 2), min(context.batch_size, total)
    if small >= large:
        raise SkipError(
            f"there are no smaller batches than of {min(small, total)} images"
        )
    again = context.logits_again
    if bool((difference(context.logits, again) > REPEATED).any()):
        raise SkipError("the model answers differently even to the same batch")
    differences = difference(again, context.logits_of(context.images, batch_size=small))
    count = int((differences > tolerance(again.dtype)).sum())
    return significance.judge(
        "batch size",
        count,
        total,
        message=f"in batches of {small} in place of {large}, the model changes its "
        f"answer to {count} of {total} images",
        remedy="An attack on one image then works through the others, and the number "
        "holds for this batch size only: let the model use fixed statistics, as "
        "BatchNorm in eval mode does.",
        values={"largest": float(differences.max())},
        most=0,
    )


def zero_eps(context: CheckContext) -> Check:
    """Check that an attack that may not change anything leaves the clean accuracy."""
    attack = PGD(replace(context.threat_model, eps=0.0), steps=1)
    rows = torch.arange(len(context.images), device=context.images.device)
    rows = rows[:MOST_ATTACKED]
    trace = context.attacked(attack, rows, key="zero eps")
    count = int((trace.wrong[-1] == context.correct[rows].cpu()).sum())
    return significance.judge(
        "zero eps",
        count,
        len(rows),
        message=f"at eps 0 the result of {count} of {len(rows)} images is another",
        remedy="Nothing but the model itself changes there: look for parts that draw "
        "numbers, adapt while they are evaluated, or depend on the batch.",
        most=1,  # rounding may decide one that is too close to call
    )


def difference(one: Tensor, other: Tensor) -> Tensor:
    """Return the largest difference for every image, in the span of its logits.

    Classes that a model rules out, by a logit of -inf, differ if it rules out others.

    Examples:
        >>> logits = torch.tensor([[0.0, 2.0, -torch.inf]])
        >>> difference(logits, logits), difference(logits, logits + 1)
        (tensor([0.], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """
    one, other = one.double(), other.double()
    finite = one.isfinite()
    high = one.where(finite, -torch.inf).amax(dim=1)
    low = one.where(finite, torch.inf).amin(dim=1)
    # Where all logits are nearly equal, rounding is a large share of their span.
    rounding = 1e-2 * one.where(finite, 0.0).abs().amax(dim=1)
    scale = torch.maximum(high - low, rounding).clamp(min=1e-12)
    apart = (one - other).abs().where(one != other, 0.0)
    # The largest number in place of NaN and infinity, which JSON does not have.
    return (apart.amax(dim=1) / scale).nan_to_num(nan=torch.finfo(scale.dtype).max)


def tolerance(dtype: torch.dtype) -> float:
    """Return up to which difference answers are the same but for their rounding."""
    return max(REGROUPED, 4 * math.sqrt(torch.finfo(dtype).eps))
