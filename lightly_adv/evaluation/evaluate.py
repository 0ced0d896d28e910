"""Measure clean and robust accuracy of a classifier."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from lightly_adv.attacks import Attack
from lightly_adv.evaluation import report, suites, verdicts
from lightly_adv.evaluation.report import RobustnessReport
from lightly_adv.evaluation.suites import Suite
from lightly_adv.evaluation.verdicts import Verdict
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
) -> RobustnessReport:
    """Measure how many pictures a classifier gets right, clean and under attack.

    A picture counts as robust if it is right without an attack and under every attack
    of the suite. Everything runs in float32 and in eval mode. Afterwards the model is
    what it was: weights, buffers, gradients, train/eval flags and `requires_grad` of
    all its parts; the global random states, too. It may be called in training and in
    validation, inside of `torch.no_grad()`, inference mode or autocast.

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

    Returns:
        A report with accuracies in percent, one flag per picture and attack, warnings.

    Raises:
        TypeError: If a batch, the labels or the output of the model are of the wrong
            type, or if the pictures have an integer dtype.
        ValueError: If the loader is empty, if the logits are NaN, of another shape or
            too few for a label, or if the pictures leave the range of pixels.

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
    where = _move(model, device)
    warnings = _precision_warnings(model, where)
    with verdicts.undisturbed(model, device=where, seed=seed):
        batches = _batches(loader, where, suite.max_samples)
        total = _count(loader, suite.max_samples)
        found = _attack_all(model, batches, attacks, seed, _bar(progress, total))
    if all(verdict.probabilities for verdict in found):
        warnings.append(_PROBABILITIES)
    names, classes = found[0].flags, found[0].classes
    return RobustnessReport(
        suite=suite.name,
        threat_model=threat_model,
        flags={name: torch.cat([v.flags[name] for v in found]).cpu() for name in names},
        attacks={name: report.describe(attack) for name, attack in attacks.items()},
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


def _attack_all(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    attacks: Mapping[str, Attack],
    seed: int,
    bar: tqdm[Any],
) -> list[Verdict]:
    found: list[Verdict] = []
    standing = 0
    with bar:
        for index, (images, labels) in enumerate(batches):
            key = (seed, 0, index)  # as the only process: see RobustValidation
            verdict = verdicts.attack_batch(model, images, labels, attacks, key=key)
            found.append(verdict)
            standing += int(verdict.worst.sum())
            bar.update(len(images))
            bar.set_postfix(standing=standing)
    if not found:
        raise ValueError(
            "the loader gave no pictures; expected at least one batch. Is the data set "
            "empty, smaller than a batch with drop_last=True, or an iterator that is "
            "used up?"
        )
    return found


def _batches(
    loader: Iterable[Any], device: torch.device, limit: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures and labels on the device, no more than `limit` of them."""
    left = limit
    for batch in loader:
        images, labels = (each[:left].to(device) for each in verdicts.unpack(batch))
        if len(images):
            yield images, labels
        if left is not None:
            left -= len(images)
            if left == 0:
                return


def _move(model: nn.Module, device: str | torch.device | None) -> torch.device:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model is a {type(model).__name__}; expected a torch.nn.Module that maps "
            "images to logits."
        )
    if device is not None:
        model.to(device)
    tensors = itertools.chain(model.parameters(), model.buffers())
    default = torch.empty(0, device=device)
    return next(tensors, default).device


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
    return tqdm(total=total, unit="pictures", desc="attacked", disable=not progress)


def _count(loader: Iterable[Any], limit: int | None) -> int | None:
    """Return how many pictures will come, where the loader tells."""
    sampler = getattr(loader, "sampler", None)
    known = len(sampler) if isinstance(sampler, Sized) else None
    return min((n for n in (known, limit) if n is not None), default=None)


_PROBABILITIES = (
    "all outputs are non-negative and sum to 1: pass logits, not probabilities, or the "
    "gradients vanish and the model looks more robust than it is."
)
