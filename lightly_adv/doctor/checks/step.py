"""Checks of the training step: labels, effects, repeatability and cost."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lightly_adv.doctor.checks.named import Result, listed, named
from lightly_adv.doctor.probe import Probe
from lightly_adv.doctor.targets import Target, TargetError
from lightly_adv.evaluation.checks.check import SkipError
from lightly_adv.evaluation.formatting import duration
from lightly_adv.training import places
from lightly_adv.training.cost import StepCost
from lightly_adv.training.step_objective import StepSkippedError

LARGEST_USUAL_SEED = 1 << 32
"""Seeds that people choose are smaller; torch's own first seed is larger."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@named
def labels(probe: Probe) -> Iterator[Result]:
    """Compare the classes of every cross-entropy with its targets and with the data."""
    try:
        outcome = probe.outcome
    except Exception as error:
        raise SkipError from error
    one_each = "Give the head one logit per class"
    if isinstance(outcome, TargetError):
        yield "FAIL", str(outcome), f"{one_each}, and number the classes from 0."
        return
    if any(target.classes < 2 for target in outcome.targets):
        text = "a cross-entropy over one class: its loss is always 0."
        yield "FAIL", text, f"{one_each}."
    heads = [each for each in outcome.targets if each.labels and each.classes > 1]
    for head in heads:
        yield _head(head, probe.data_classes)
    if not heads:
        yield "PASS", "no cross-entropy takes the labels of the batch."


def _head(head: Target, classes: int | None) -> Result:
    text = f"labels from {head.low} to {head.high}, a head of {head.classes} classes"
    if classes is None:
        return "PASS", f"{text}."
    if classes == head.classes:
        return "PASS", f"{text}, {classes} classes in the data."
    text += f", but {classes} classes in the data."
    remedy = f"Give the head {classes} classes"
    if classes > head.classes:
        return "FAIL", text, f"{remedy}: some labels will be out of range."
    return "WARN", text, f"{remedy}, unless the others are for later."


@named
def training_step(probe: Probe) -> Iterator[Result]:
    """Take the step and take it back; list what it changed."""
    try:
        run = probe.run
    except StepSkippedError:
        text = "training_step returned None: it skips the first batch."
        yield "FAIL", text, "Return the loss."
        return
    if not math.isfinite(run.loss):
        yield (
            "FAIL",
            f"the loss is {run.loss}.",
            "Look at the loss and its inputs, for instance with "
            "Trainer(detect_anomaly=True).",
        )
    elif not run.trains:
        yield (
            "FAIL",
            "the loss depends on no parameter that is trained.",
            "Thaw some with requires_grad_(True), and compute the loss outside of "
            "torch.no_grad().",
        )
    else:
        changed = _changed(probe.module, run.changes)
        yield "PASS", f"loss {run.loss:.4g}; {changed}."


def _changed(module: nn.Module, names: Sequence[str]) -> str:
    if not names:
        return "it changes nothing by itself"
    parameters = dict(module.named_parameters(remove_duplicate=False))
    statistics = [each for each in names if each.endswith(_STATISTICS)]
    weights = [each for each in names if each in parameters]
    rest = [each for each in names if each not in {*statistics, *weights}]
    parts = []
    if statistics:
        parts.append(f"{len(statistics)} statistics of BatchNorm")
    if weights:
        owners = dict.fromkeys(each.rpartition(".")[0] for each in weights)
        roots = list(dict.fromkeys(each.split(".")[0] for each in owners))
        parts.append(f"{len(weights)} parameters ({listed(roots, most=4)})")
    if rest:
        parts.append(listed(rest, most=4))
    return f"it changes {', '.join(parts)}"


@named
def isolation(probe: Probe) -> Iterator[Result]:
    """Evaluate the loss twice, isolated, and compare the module with before."""
    leaked = probe.twice.leaked
    if not leaked:
        yield "PASS", "after 2 evaluations of the loss everything is as it was."
        return
    yield (
        "FAIL",
        f"every evaluation of the attack would change {listed(leaked, most=6)}: it "
        "lives where nothing can be set aside, such as in a generator, a data loader, "
        "a global or a file.",
        "Make it an attribute of the module: a number, a list, a buffer.",
    )


@named
def repeatable(probe: Probe) -> Iterator[Result]:
    """Compare two evaluations of one loss, and look for a seed."""
    first, second = (float(loss.mean()) for loss in probe.twice.losses)
    same = "the loss of the same views is the same"
    seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))
    if not probe.twice.constant:
        yield (
            "WARN",
            f"the loss of the same views was {first:.6g} and then {second:.6g}: it "
            "depends on something besides views, module and the random streams of "
            "torch, random and numpy.",
            "Draw from one of these streams, or from a torch.Generator that is an "
            "attribute of the module.",
        )
    elif seed >= LARGEST_USUAL_SEED:
        remedy = "Call pl.seed_everything(0) first, so that runs repeat."
        yield "WARN", f"{same}, but no seed is set.", remedy
    else:
        yield "PASS", f"{same}; the seed is {seed}."


@named
def cost(probe: Probe) -> Iterator[Result]:
    """Count the passes of a step, and measure one without and with the attack."""
    selected = probe.selected
    reached = selected.views
    if probe.step is not None:
        pairs = zip(reached, probe.grads, strict=True)
        reached = [view for view, grad in pairs if grad is not None]
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
        yield "PASS", counted
        return
    clean, seconds = _measured(probe)
    how = "Measured" if probe.full_size is None else "Estimated from fewer images"
    text = (
        f"{counted} {how} on {probe.device}: {duration(clean)} without the attack, "
        f"{duration(seconds)} with it ({seconds / clean:.1f} times)"
    )
    steps = probe.steps_per_epoch
    if steps is not None and math.isfinite(steps) and steps > 1:
        text += f", {duration(seconds * steps)} for an epoch of {steps:.0f} steps"
    yield "PASS", f"{text}."


def _measured(probe: Probe) -> tuple[float, float]:
    """Return the seconds of a clean and of an adversarial step, for a whole batch."""
    size = len(probe.selected.images[0])
    factor = 1 if probe.full_size is None else probe.full_size / size
    attack = factor * probe.attacked.seconds
    step = factor * probe.seconds_of(places.mapped(torch.clone, probe.batch))
    if probe.choice.attacks_itself:
        # Such a step passes both streams, which are clean here.
        return step / probe.choice.streams, step + attack
    return step, probe.choice.streams * step + attack


def _whole(views: Sequence[Tensor], size: int | None) -> list[Tensor]:
    """Return views of the shape that they have in a whole batch."""
    if size is None:
        return list(views)
    return [view[:1].expand(size, *view.shape[1:]) for view in views]
