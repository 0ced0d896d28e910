"""Which views does the loss depend on, and how?"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lightly_adv.doctor.checks.data import named, places
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, Status

NAME = "gradient"

MASKED = 0.8
"""Share of zeros from which on a gradient looks masked."""

DEAD = 0.1
"""Share of images that may receive no gradient at all."""


def gradient(probe: Probe) -> Iterator[Check]:
    """Differentiate the loss with respect to every attacked view."""
    grads = probe.grads
    numbers = places(probe.selected)
    reached = {
        at: grad for at, grad in zip(numbers, grads, strict=True) if grad is not None
    }
    zeros = max(float((grad == 0).float().mean()) for grad in reached.values())
    dead = max(_dead(grad) for grad in reached.values())
    seen = f"it reaches {named(list(reached))}; {100 * zeros:.0f} % of it are zeros"
    if dead:
        seen += f", and {100 * dead:.0f} % of the images receive none"
    others = [at for at in numbers if at not in reached]
    if others:
        stay = "stays" if len(others) == 1 else "stay"
        seen += f"; it does not reach {named(others)}, which {stay} clean"
    yield Check(NAME, *_judged(zeros, dead, f"{seen}."))


def _judged(zeros: float, dead: float, seen: str) -> tuple[Status, str, str]:
    if zeros == 1:
        return (
            "FAIL",
            seen,
            "The loss is flat at these images. Look for argmax, rounding or "
            "saturated activations on the way to the loss.",
        )
    if zeros > MASKED or dead > DEAD:
        return (
            "WARN",
            seen,
            "Fine where the step masks or leaves out that much; otherwise gradients "
            "are lost in saturated or dead activations.",
        )
    return "PASS", seen, ""


def _dead(grad: Tensor) -> float:
    """Return the share of images whose gradient is zero everywhere."""
    return float((grad == 0).flatten(1).all(dim=1).float().mean())
