"""Do labels and classifier fit?"""

from __future__ import annotations

from collections.abc import Iterator

from lightly_adv.doctor.probe import Probe
from lightly_adv.doctor.targets import Target, TargetError
from lightly_adv.evaluation.checks.check import Check, SkipError

NAME = "labels"


def labels(probe: Probe) -> Iterator[Check]:
    """Compare the classes of every cross-entropy with its targets and with the data."""
    try:
        outcome = probe.outcome
    except Exception as error:
        raise SkipError from error
    if isinstance(outcome, TargetError):
        yield Check(
            NAME,
            "FAIL",
            str(outcome),
            "Give the head one logit per class, and number the classes from 0.",
        )
        return
    for target in outcome.targets:
        if target.classes < 2:
            yield Check(
                NAME,
                "FAIL",
                "a cross-entropy over one class: its loss is always 0.",
                "Give the head one logit per class.",
            )
    heads = [
        target for target in outcome.targets if target.labels and target.classes > 1
    ]
    for head in heads:
        yield _head(head, probe.data_classes)
    if not heads:
        yield Check(NAME, "PASS", "no cross-entropy takes the labels of the batch.")


def _head(head: Target, classes: int | None) -> Check:
    text = f"labels from {head.low} to {head.high}, a head of {head.classes} classes"
    if classes is None or classes == head.classes:
        known = "" if classes is None else f", {classes} classes in the data"
        return Check(NAME, "PASS", f"{text}{known}.")
    text += f", but {classes} classes in the data"
    if classes > head.classes:
        remedy = f"Give the head {classes} classes: some labels will be out of range."
        return Check(NAME, "FAIL", f"{text}.", remedy)
    remedy = f"Give the head {classes} classes, unless the others are for later."
    return Check(NAME, "WARN", f"{text}.", remedy)
