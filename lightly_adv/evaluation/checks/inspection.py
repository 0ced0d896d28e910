"""All the checks of one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation.checks.black_box import black_box, transfer
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.evaluation.checks.effort import loss_curve, more_steps, restarts
from lightly_adv.evaluation.checks.gradients import large_eps, zero_gradients
from lightly_adv.evaluation.checks.outputs import batch_size, random_outputs, zero_eps
from lightly_adv.evaluation.checks.subject import CheckFunction, Subject
from lightly_adv.isolation import rng

STANDARD: tuple[CheckFunction, ...] = (
    zero_eps,
    random_outputs,
    batch_size,
    zero_gradients,
    large_eps,
    more_steps,
    restarts,
    loss_curve,
    black_box,
    transfer,
)
"""What every suite but `smoke` looks at, beside probabilities in place of logits."""


def name_of(check: CheckFunction) -> str:
    """Return the name of a check: that of the function, in words.

    Examples:
        >>> name_of(STANDARD[0])
        'zero eps'
    """
    return str(getattr(check, "__name__", type(check).__name__)).replace("_", " ")


def inspect(
    subject: Subject, checks: Iterable[CheckFunction], bar: tqdm[Any]
) -> list[Check]:
    """Run checks one after the other.

    One that cannot be run says so: the verdicts of hours are not lost by it.

    Args:
        subject: What to look at.
        checks: The checks.
        bar: Shows how many are done.
    """
    found = []
    with bar:
        for check in checks:
            with rng.forked(subject.images.device):
                # What a model draws must not hang on which checks came before.
                rng.reseed(subject.generator(name_of(check)).initial_seed())
                found.append(_run(check, subject))
            bar.update()
    return found


def warnings_of(checks: Sequence[Check]) -> list[str]:
    """Return what checks say among the warnings of a report."""
    return [check.warning for check in checks if check.status == "WARN"]


def _run(check: CheckFunction, subject: Subject) -> Check:
    try:
        return check(subject)
    except (RuntimeError, ValueError) as error:
        return Check(name_of(check), "SKIP", f"it could not be run: {error}")
