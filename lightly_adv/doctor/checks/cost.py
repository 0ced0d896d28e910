"""What does a step cost?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.training.cost import StepCost

NAME = "cost"


def cost(probe: Probe) -> Iterator[Check]:
    """Count the passes of a step, and measure one without and with the attack."""
    selected = probe.selected
    reached = _reached(probe)
    count = StepCost(
        _whole(selected.images, probe.full_size),
        _whole(reached, probe.full_size),
        evaluations=probe.attack.evaluations,
        streams=probe.choice.streams,
        independent=probe.training.independent,
        unreached=len(selected.views) - len(reached),
        random_start=probe.attack.random_start,
    )
    counted = str(count).removeprefix("adversarial training: ")
    if probe.step is None:
        yield Check(NAME, "PASS", counted)
        return
    clean, seconds = _measured(probe)
    how = "Measured" if probe.full_size is None else "Estimated from fewer images"
    text = (
        f"{counted} {how} on {probe.device}: {_duration(clean)} without the attack, "
        f"{_duration(seconds)} with it ({seconds / clean:.1f} times)"
    )
    steps = probe.steps_per_epoch
    if steps is not None and math.isfinite(steps) and steps > 1:
        text += f", {_duration(seconds * steps)} for an epoch of {steps:.0f} steps"
    yield Check(NAME, "PASS", f"{text}.")


def _reached(probe: Probe) -> list[Tensor]:
    """Return the views that receive a gradient; all of them where none can be taken."""
    views = probe.selected.views
    if probe.step is None:
        return views
    return [v for v, g in zip(views, probe.grads, strict=True) if g is not None]


def _measured(probe: Probe) -> tuple[float, float]:
    """Return the seconds of a clean step and of an adversarial one."""
    attack, clean = probe.attacked.seconds, probe.step_seconds
    if probe.choice.attacks_itself:
        # Such a step passes both streams, which are clean here.
        step, clean = clean, clean / probe.choice.streams
    else:
        step = probe.choice.streams * clean
    factor = _left_out(probe)
    return factor * clean, factor * (step + attack)


def _whole(views: Sequence[Tensor], size: int | None) -> list[Tensor]:
    """Return views of the shape that they have in a whole batch."""
    if size is None:
        return list(views)
    return [view[:1].expand(size, *view.shape[1:]) for view in views]


def _left_out(probe: Probe) -> float:
    """Return how many times as many images a real batch has."""
    if probe.full_size is None:
        return 1.0
    return probe.full_size / len(probe.selected.images[0])


def _duration(seconds: float) -> str:
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"
