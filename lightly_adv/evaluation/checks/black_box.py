"""Checks of whether attacks without the gradient of the model beat those with it."""

from __future__ import annotations

from lightly_adv.attacks import PGD, ClassificationObjective, Square
from lightly_adv.evaluation.checks import odds
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.effort import settled
from lightly_adv.evaluation.checks.subject import Subject

QUERIES = 60
"""How often the random search asks about an image."""

STEPS = 20
"""Steps of the attack on the second classifier."""


def black_box(subject: Subject) -> Check:
    """Count standing images that fall to a short random search over squares."""
    known = settled("black box", subject)
    if known is not None:
        return known
    rows = subject.standing_rows
    attack = Square(subject.threat_model, steps=QUERIES)
    trace = subject.attacked(attack, rows, key="black box")
    count = int(trace.broken(steps=QUERIES).sum())
    return odds.judge(
        "black box",
        count,
        subject.stands_for,
        message=f"{count} of {len(rows)} standing images fall to {QUERIES} random "
        "squares",
        remedy="An attack that sees the gradient should find all of these: it misleads "
        "here, and the number is too high. Look for saturated, rounded or random "
        "parts, and evaluate with 'autoattack-standard'.",
        values={"queries": QUERIES, "attacked": len(rows)},
    )


def transfer(subject: Subject) -> Check:
    """Count standing images that fall to an attack on another classifier."""
    if subject.surrogate is None:
        message = "no second classifier was given (surrogate=, or --surrogate)"
        return Check("transfer", "SKIP", message)
    known = settled("transfer", subject)
    if known is not None:
        return known
    rows, generator = subject.standing_rows, subject.generator("transfer")
    # Unlike APGD, it goes on where the other model is wrong already.
    attack, count = PGD(subject.threat_model, steps=STEPS), 0
    for part in subject.parts(rows):
        images, labels = subject.images[part], subject.labels[part]
        objective = ClassificationObjective(subject.surrogate, labels)
        (perturbed,) = attack(objective, [images], generator=generator)
        count += int((subject.model(perturbed).argmax(dim=1) != labels).sum())
    return odds.judge(
        "transfer",
        count,
        subject.stands_for,
        message=f"{count} of {len(rows)} standing images fall to what PGD "
        f"with {STEPS} steps finds on the second classifier",
        remedy="The gradients of another model serve better than its own: they mislead "
        "here, and the number is too high. Look for saturated, rounded or random "
        "parts.",
        values={"attacked": len(rows)},
    )
