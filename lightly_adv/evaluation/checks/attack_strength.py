"""Checks of whether the attacks of the suite are strong enough."""

from __future__ import annotations

from lightly_adv.evaluation.checks import significance
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.check_context import CheckContext

RISING_SHARE = 0.25
"""Share of its rise that a loss makes in the last quarter of the steps if it rises all
the way at the same pace."""


@significance.of_robust_images
def more_steps(context: CheckContext) -> Check:
    """Count robust images that the attack breaks with twice the steps."""
    steps, trace = context.attack.steps, context.long_run
    late = trace.broken(steps=2 * steps) & ~trace.broken(steps=steps)
    count = int(late.sum())
    return significance.judge(
        "more steps",
        count,
        context.correct_count,
        message=f"{count} of {_robust_images(context)} are broken by "
        f"{_name(context)} with {2 * steps} steps, and not yet with {steps}",
        remedy="The attack was stopped too early: evaluate with more steps, or with "
        "'apgd', and report that number.",
        values={"steps": 2 * steps, "attacked": len(context.robust_rows)},
    )


@significance.of_robust_images
def restarts(context: CheckContext) -> Check:
    """Count robust images that another run breaks from another random start."""
    steps = context.attack.steps
    count = int(context.long_run.broken(steps=steps).sum())
    return significance.judge(
        "restarts",
        count,
        context.correct_count,
        message=f"{count} of {_robust_images(context)} are broken by another run of "
        f"{_name(context)} with {steps} steps",
        remedy="The result depends on where the attack starts: evaluate with more "
        "restarts, or with 'apgd', and report that number.",
        values={"steps": steps, "attacked": len(context.robust_rows)},
    )


@significance.of_robust_images
def loss_curve(context: CheckContext) -> Check:
    """Count robust images whose loss still rises at the end of twice the steps."""
    trace = context.long_run
    # The highest so far: PGD jumps to and fro once it has arrived.
    robust = ~trace.wrong.any(dim=0)
    losses = trace.losses[:, robust].double().cummax(dim=0).values
    start, end = losses[0], losses[-1]
    late = end - losses[-1 - len(losses) // 4]
    rising = (late >= RISING_SHARE * (end - start)) & (late > 1e-3 * end)
    count, left = int(rising.sum()), losses.shape[1]
    return significance.judge(
        "loss curve",
        count,
        context.correct_count,
        message=f"the loss of {count} of {left} images that stay robust "
        "still rises as fast in the last quarter of "
        f"{2 * context.attack.steps} steps of {_name(context)} as before",
        remedy="The attack has not arrived: evaluate with more or longer steps, or "
        "with 'apgd', which finds its step size by itself.",
        values={
            "loss at the start": float(start.mean()) if left else 0.0,
            "loss at the end": float(end.mean()) if left else 0.0,
        },
    )


def _name(context: CheckContext) -> str:
    return type(context.attack).__name__


def _robust_images(context: CheckContext) -> str:
    return f"{len(context.robust_rows)} robust images"
