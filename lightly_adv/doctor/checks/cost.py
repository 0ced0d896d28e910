"""What does a step cost?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from lightly_adv.doctor.patient import Patient
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.training.cost import StepCost

NAME = "cost"


def cost(patient: Patient) -> Iterator[Check]:
    """Count the passes of a step, and measure one without and with the attack."""
    selected = patient.selected
    reached = _reached(patient)
    count = StepCost(
        _whole(selected.images, patient.full_size),
        _whole(reached, patient.full_size),
        evaluations=patient.attack.evaluations,
        streams=patient.streams,
        independent=patient.training.independent,
        unreached=len(selected.views) - len(reached),
        random_start=patient.attack.random_start,
    )
    counted = str(count).removeprefix("adversarial training: ")
    if patient.step is None:
        yield Check(NAME, "PASS", counted)
        return
    clean, seconds = _measured(patient)
    how = "Measured" if patient.full_size is None else "Estimated from fewer images"
    text = (
        f"{counted} {how} on {patient.device}: {_duration(clean)} without the attack, "
        f"{_duration(seconds)} with it ({seconds / clean:.1f} times)"
    )
    steps = patient.steps_per_epoch
    if steps is not None and math.isfinite(steps) and steps > 1:
        text += f", {_duration(seconds * steps)} for an epoch of {steps:.0f} steps"
    yield Check(NAME, "PASS", f"{text}.")


def _reached(patient: Patient) -> list[Tensor]:
    """Return the views that receive a gradient; all of them where none can be taken."""
    views = patient.selected.views
    if patient.step is None:
        return views
    return [v for v, g in zip(views, patient.grads, strict=True) if g is not None]


def _measured(patient: Patient) -> tuple[float, float]:
    """Return the seconds of a clean step and of an adversarial one."""
    attack, clean = patient.attacked.seconds, patient.step_seconds
    if patient.attacks_itself:
        # Such a step passes both streams, which are clean here.
        step, clean = clean, clean / patient.streams
    else:
        step = patient.streams * clean
    factor = _left_out(patient)
    return factor * clean, factor * (step + attack)


def _whole(views: Sequence[Tensor], size: int | None) -> list[Tensor]:
    """Return views of the shape that they have in a whole batch."""
    if size is None:
        return list(views)
    return [view[:1].expand(size, *view.shape[1:]) for view in views]


def _left_out(patient: Patient) -> float:
    """Return how many times as many images a real batch has."""
    if patient.full_size is None:
        return 1.0
    return patient.full_size / len(patient.selected.images[0])


def _duration(seconds: float) -> str:
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"
