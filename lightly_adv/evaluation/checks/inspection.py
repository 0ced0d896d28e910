"""All the checks of one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation.checks.attack_strength import (
    loss_curve,
    more_steps,
    restarts,
)
from lightly_adv.evaluation.checks.black_box import black_box, transfer
from lightly_adv.evaluation.checks.check import (
    Check,
    CheckFunction,
    name_of,
    run_check,
)
from lightly_adv.evaluation.checks.check_context import CheckContext
from lightly_adv.evaluation.checks.gradients import large_eps, zero_gradients
from lightly_adv.evaluation.checks.outputs import batch_size, random_outputs, zero_eps
from lightly_adv.isolation import rng

STANDARD: tuple[CheckFunction[CheckContext], ...] = (
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
"""The checks of every suite but `smoke`, beside that for probabilities."""


def inspect(
    context: CheckContext, checks: Iterable[CheckFunction[CheckContext]], bar: tqdm[Any]
) -> list[Check]:
    """Run checks one after the other.

    One that cannot be run is skipped: the results of hours are not lost by it.

    Args:
        context: What to look at.
        checks: The checks.
        bar: Shows how many are done.
    """
    results: list[Check] = []
    with bar:
        for check in checks:
            with rng.forked(context.images.device):
                # What a model draws must not depend on which checks came before.
                rng.reseed(context.generator(name_of(check)).initial_seed())
                results += run_check(check, context, on_error=_skipped)
            bar.update()
    return results


def warnings_of(checks: Sequence[Check]) -> list[str]:
    """Return what checks add to the warnings of a report."""
    return [check.warning for check in checks if check.status in ("WARN", "FAIL")]


def _skipped(name: str, error: BaseException) -> Check:
    if not isinstance(error, RuntimeError | ValueError):
        raise error
    return Check(name, "SKIP", f"it could not be run: {error}")
