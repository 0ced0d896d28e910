"""Measure clean and robust accuracy of a classifier."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.evaluation import (
    batches,
    digests,
    processes,
    report,
    suites,
    verdicts,
)
from lightly_adv.evaluation.report import RobustnessReport
from lightly_adv.evaluation.run import Run
from lightly_adv.evaluation.state import State
from lightly_adv.evaluation.suites import Suite
from lightly_adv.threat_model import ThreatModel


def evaluate_robustness(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    *,
    suite: str | Suite = "pgd-20",
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
) -> RobustnessReport:
    """Measure how many pictures a classifier gets right, clean and under attack.

    A picture counts as robust if it is right without an attack and under every attack
    of the suite. Everything runs in float32 and in eval mode. Afterwards the model is
    what it was: weights, buffers, gradients, train/eval flags and `requires_grad` of
    all its parts; the global random states, too. It may be called in training and in
    validation, inside of `torch.no_grad()`, inference mode or autocast.

    In a process group (`torch.distributed`) every process has to call it, with the same
    loader. Each attacks its share of the batches, no picture twice, and all of them get
    the report on all pictures.

    Args:
        model: Maps pictures of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), as they come
            from a `DataLoader` over a `LightlyDataset`.
        threat_model: What the attacks may do. Its `normalize` must be what the
            transform of the loader did to the pictures.
        suite: Which attacks to run; a name, or a `Suite`.
        device: Where to evaluate; the model is moved there, and stays there. None
            stands for the device of the model.
        seed: Seed of the noise of the attacks. With the same seed and the same batches,
            the result is the same.
        progress: Show a progress bar.
        state: File that the verdicts are kept in. If it is there, the evaluation goes
            on behind the batches that it knows; the loader has to give the same ones.
            In a process group every process has its own, whose name ends in its number.

    Returns:
        A report with accuracies in percent, one flag per picture and attack, warnings.

    Raises:
        TypeError: If a batch, the labels or the output of the model are of the wrong
            type, or if the pictures have an integer dtype.
        ValueError: If the loader is empty, if the logits are NaN, of another shape or
            too few for a label, if the pictures leave the range of pixels, or if the
            state is that of another evaluation.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 5)]
        >>> found = evaluate_robustness(model, batches, ThreatModel(eps=8 / 255))
        >>> found.num_samples, list(found.flags)
        (8, ['clean', 'pgd'])
        >>> found.robust_accuracy <= found.clean_accuracy
        True
    """
    suite = suites.resolve(suite)
    attacks = suite.create_attacks(threat_model)
    where = batches.place(model, device)
    warnings = _precision_warnings(model, where)
    settings = {name: report.describe(attack) for name, attack in attacks.items()}
    kept = _state(state, model, threat_model, settings, suite=suite.name, seed=seed)
    with verdicts.undisturbed(model, device=where, seed=seed):
        run = Run(model, attacks, device=where, seed=seed, state=kept)
        total = batches.count(loader, suite.max_samples)
        found = run.over(_batches(loader, suite.max_samples), _bar(progress, total))
    if all(verdict.probabilities for verdict in found):
        warnings.append(_PROBABILITIES)
    names, classes = found[0].flags, found[0].classes
    return RobustnessReport(
        suite=suite.name,
        threat_model=threat_model,
        flags={name: torch.cat([v.flags[name] for v in found]) for name in names},
        labels=torch.cat([v.labels for v in found]),
        predictions={
            name: torch.cat([v.predictions[name] for v in found])
            for name in found[0].predictions
        },
        data_digest=run.data_digest,
        attacks=settings,
        seed=seed,
        warnings=warnings,
        notes=[n for each in attacks.values() for n in each.notes(classes=classes)],
    )


def robust_curve(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    eps_values: Sequence[float],
    *,
    suite: str | Suite = "pgd-20",
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[RobustnessReport]:
    """Evaluate one model at several radii.

    Accuracy should fall to about 0 as eps grows; if it does not, the attacks are too
    weak for this model, and its robust accuracy means nothing.

    Args:
        model: See `evaluate_robustness`, also for all that is not explained here.
        loader: Batches; they are gone through once per radius.
        threat_model: Gives all but the radius.
        eps_values: Radii, in pixels of [0, 1].
        suite: Which attacks to run. Let their steps grow with eps (step_size=None).
        device: Where to evaluate.
        seed: Seed of the noise of the attacks.
        progress: Show progress bars.

    Returns:
        One report per radius, in the order of `eps_values`.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 5)]
        >>> reports = robust_curve(model, batches, ThreatModel(), [0.0, 0.5])
        >>> reports[0].robust_accuracy == reports[0].clean_accuracy
        True
    """
    return [
        evaluate_robustness(
            model,
            loader,
            dataclasses.replace(threat_model, eps=eps),
            suite=suite,
            device=device,
            seed=seed,
            progress=progress,
        )
        for eps in eps_values
    ]


def _state(
    path: str | os.PathLike[str] | None,
    model: nn.Module,
    threat_model: ThreatModel,
    attacks: Mapping[str, Any],
    *,
    suite: str,
    seed: int,
) -> State | None:
    """Return the state of this evaluation in this process, if it is to be kept."""
    if path is None:
        return None
    rank, size = processes.rank_and_size()
    identity = {
        "model": digests.of_model(model),
        "suite": suite,
        "attacks": attacks,
        "threat model": report.describe_threat_model(threat_model),
        "seed": seed,
    }
    return State(Path(f"{path}.{rank}" if size > 1 else path), identity)


def _batches(
    loader: Iterable[Any], limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures and labels, no more than `limit` of them."""
    left = limit
    for batch in loader:
        images, labels = (each[:left] for each in verdicts.unpack(batch))
        if len(images):
            yield images, labels
        if left is not None:
            left -= len(images)
            if left == 0:
                return


def _precision_warnings(model: nn.Module, device: torch.device) -> list[str]:
    warnings = []
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
        warnings.append(
            f"autocast to {dtype} was on; the evaluation ran without it, in float32."
        )
    half = {p.dtype for p in model.parameters()} & {torch.float16, torch.bfloat16}
    if half:
        warnings.append(
            f"the model has parameters of dtype {half.pop()}, in which small gradients "
            "are lost; evaluate model.float()."
        )
    return warnings


def _bar(progress: bool, total: int | None) -> tqdm[Any]:
    shown = progress and processes.rank_and_size()[0] == 0
    return tqdm(total=total, unit="pictures", desc="attacked", disable=not shown)


_PROBABILITIES = (
    "all outputs are non-negative and sum to 1: pass logits, not probabilities, or the "
    "gradients vanish and the model looks more robust than it is."
)
