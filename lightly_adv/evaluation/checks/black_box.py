"""Checks of whether attacks without the gradient of the model beat those with it."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from lightly_adv.attacks import PGD, ClassificationObjective, Square
from lightly_adv.evaluation.checks import significance
from lightly_adv.evaluation.checks.check import Check, CheckFunction, SkipError
from lightly_adv.evaluation.checks.check_context import CheckContext

QUERIES = 60
"""How often the random search asks about an image."""

STEPS = 20
"""Steps of the attack on the second classifier."""


@significance.of_robust_images
def black_box(context: CheckContext) -> Check:
    """Count robust images that a short random search over squares breaks."""
    rows = context.robust_rows
    attack = Square(context.threat_model, steps=QUERIES)
    trace = context.attacked(attack, rows, key="black box")
    count = int(trace.broken(steps=QUERIES).sum())
    return significance.judge(
        "black box",
        count,
        context.correct_count,
        message=f"{count} of {len(rows)} robust images are broken by {QUERIES} random "
        "squares",
        remedy="An attack that sees the gradient should find all of these: it misleads "
        "here, and the number is too high. Look for saturated, rounded or random "
        "parts, and evaluate with 'autoattack-standard'.",
        values={"queries": QUERIES, "attacked": len(rows)},
    )


def _with_surrogate(check: CheckFunction[CheckContext]) -> CheckFunction[CheckContext]:
    """Run a check only where there is a second classifier."""

    @functools.wraps(check)
    def run(context: CheckContext) -> Check | Iterable[Check]:
        if context.surrogate is None:
            raise SkipError(
                "no second classifier was given (surrogate=, or --surrogate)"
            )
        return check(context)

    return run


@_with_surrogate
@significance.of_robust_images
def transfer(context: CheckContext) -> Check:
    """Count robust images that an attack on another classifier breaks."""
    assert context.surrogate is not None
    rows, generator = context.robust_rows, context.generator("transfer")
    # Unlike APGD, it goes on where the other model is wrong already.
    attack, count = PGD(context.threat_model, steps=STEPS), 0
    for part in context.parts(rows):
        images, labels = context.images[part], context.labels[part]
        objective = ClassificationObjective(context.surrogate, labels)
        (perturbed,) = attack(objective, [images], generator=generator)
        count += int((context.model(perturbed).argmax(dim=1) != labels).sum())
    return significance.judge(
        "transfer",
        count,
        context.correct_count,
        message=f"{count} of {len(rows)} robust images are broken by what PGD "
        f"with {STEPS} steps finds on the second classifier",
        remedy="The gradients of another model serve better than its own: they mislead "
        "here, and the number is too high. Look for saturated, rounded or random "
        "parts.",
        values={"attacked": len(rows)},
    )
