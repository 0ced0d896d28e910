"""Does a training step run, and what does it change?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import nn

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.training.step_objective import StepSkippedError

NAME = "training step"

SHOWN = 4
"""Names that are written out."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def training_step(probe: Probe) -> Iterator[Check]:
    """Take the step and take it back; list what it changed."""
    try:
        run = probe.run
    except StepSkippedError:
        yield Check(
            NAME,
            "FAIL",
            "training_step returned None: it skips the first batch.",
            "Return the loss.",
        )
        return
    if not math.isfinite(run.loss):
        yield Check(
            NAME,
            "FAIL",
            f"the loss is {run.loss}.",
            "Look at the loss and its inputs, for instance with "
            "Trainer(detect_anomaly=True).",
        )
        return
    if not run.trains:
        yield Check(
            NAME,
            "FAIL",
            "the loss depends on no parameter that is trained.",
            "Thaw some with requires_grad_(True), and compute the loss outside of "
            "torch.no_grad().",
        )
        return
    yield Check(
        NAME, "PASS", f"loss {run.loss:.4g}; {_changed(probe.module, run.changes)}."
    )


def _changed(module: nn.Module, names: Sequence[str]) -> str:
    if not names:
        return "it changes nothing by itself"
    statistics = [each for each in names if each.endswith(_STATISTICS)]
    parameters = dict(module.named_parameters(remove_duplicate=False))
    weights = [each for each in names if each in parameters]
    rest = [each for each in names if each not in {*statistics, *weights}]
    parts = []
    if statistics:
        parts.append(f"{len(statistics)} statistics of BatchNorm")
    if weights:
        owners = list(dict.fromkeys(each.rpartition(".")[0] for each in weights))
        roots = list(dict.fromkeys(each.split(".")[0] for each in owners))
        parts.append(f"{len(weights)} parameters ({_listed(roots)})")
    if rest:
        parts.append(_listed(rest))
    return f"it changes {', '.join(parts)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
