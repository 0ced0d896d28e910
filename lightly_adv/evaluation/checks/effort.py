"""Checks of whether the suite has tried hard enough."""

from __future__ import annotations

from lightly_adv.evaluation.checks import odds
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.subject import Subject

STILL_RISING = 0.25
"""Share of its rise that a loss makes in the last quarter of the steps if it rises all
the way at the same pace."""


def more_steps(subject: Subject) -> Check:
    """Count standing images that fall when the attack takes twice the steps."""
    known = settled("more steps", subject)
    if known is not None:
        return known
    steps, found = subject.attack.steps, subject.long_run
    late = found.broken(steps=2 * steps) & ~found.broken(steps=steps)
    count = int(late.sum())
    return odds.judge(
        "more steps",
        count,
        subject.stands_for,
        message=f"{count} of {_standing(subject)} fall to {_name(subject)} with "
        f"{2 * steps} steps, and not yet with {steps}",
        remedy="The attack was stopped too early: evaluate with more steps, or with "
        "'apgd', and report that number.",
        values={"steps": 2 * steps, "attacked": len(subject.standing_rows)},
    )


def restarts(subject: Subject) -> Check:
    """Count standing images that fall to another run from another random point."""
    known = settled("restarts", subject)
    if known is not None:
        return known
    steps = subject.attack.steps
    count = int(subject.long_run.broken(steps=steps).sum())
    return odds.judge(
        "restarts",
        count,
        subject.stands_for,
        message=f"{count} of {_standing(subject)} fall to another run of "
        f"{_name(subject)} with {steps} steps",
        remedy="The result hangs on where the attack starts: evaluate with more "
        "restarts, or with 'apgd', and report that number.",
        values={"steps": steps, "attacked": len(subject.standing_rows)},
    )


def loss_curve(subject: Subject) -> Check:
    """Count standing images whose loss rises to the end of twice the steps."""
    known = settled("loss curve", subject)
    if known is not None:
        return known
    found = subject.long_run
    # The highest so far: PGD jumps to and fro once it has arrived.
    stood = ~found.wrong.any(dim=0)
    losses = found.losses[:, stood].double().cummax(dim=0).values
    start, end = losses[0], losses[-1]
    late = end - losses[-1 - len(losses) // 4]
    rising = (late >= STILL_RISING * (end - start)) & (late > 1e-3 * end)
    count, left = int(rising.sum()), losses.shape[1]
    return odds.judge(
        "loss curve",
        count,
        subject.stands_for,
        message=f"the loss of {count} of {left} images that stand to the end still "
        f"rises as fast in the last quarter of {2 * subject.attack.steps} steps of "
        f"{_name(subject)} as before",
        remedy="The attack has not arrived: evaluate with more or longer steps, or "
        "with 'apgd', which finds its step size by itself.",
        values={
            "loss at the start": float(start.mean()) if left else 0.0,
            "loss at the end": float(end.mean()) if left else 0.0,
        },
    )


def settled(name: str, subject: Subject) -> Check | None:
    """Return what can be said without an attack, None if there has to be one."""
    right, standing = int(subject.right.sum()), int(subject.standing.sum())
    if not right:
        return Check(name, "SKIP", "no image is right without an attack")
    if subject.threat_model.eps == 0:
        return Check(name, "SKIP", "eps is 0: there is nothing to find")
    if standing > odds.allowed(right):
        return None
    message = (
        f"only {standing} of {right} right images stand: the number cannot be far off"
    )
    values = {"count": 0, "of": right, "allowed": odds.allowed(right)}
    return Check(name, "PASS", message, values=values)


def _name(subject: Subject) -> str:
    return type(subject.attack).__name__


def _standing(subject: Subject) -> str:
    return f"{len(subject.standing_rows)} standing images"
