"""Measure clean and robust accuracy of a classifier."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from lightly_adv.attacks import notices
from lightly_adv.evaluation import batches, processes, suites, verdicts
from lightly_adv.evaluation.checks import Check, CheckContext, CheckFunction, inspection
from lightly_adv.evaluation.checks.check import name_of
from lightly_adv.evaluation.checks.outputs import probabilities
from lightly_adv.evaluation.checks.sample import Sample
from lightly_adv.evaluation.evaluation import Evaluation
from lightly_adv.evaluation.overshoot import Overshoot
from lightly_adv.evaluation.report import describe_threat_model
from lightly_adv.evaluation.robustness_report import RobustnessReport
from lightly_adv.evaluation.suites import Suite
from lightly_adv.threat_model import ThreatModel


def evaluate_robustness(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    *,
    suite: str | Suite = "pgd-20",
    max_samples: int | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
    checks: Sequence[CheckFunction[CheckContext]] | None = None,
    surrogate: nn.Module | None = None,
) -> RobustnessReport:
    """Measure how many images a classifier gets right, clean and under attack.

    An image counts as robust if it is right without an attack and under every attack
    of the suite. Everything runs in float32 and in eval mode. Afterwards the model is
    what it was: weights, buffers, gradients, train/eval flags and `requires_grad` of
    all its parts; the global random states, too. It may be called in training and in
    validation, inside of `torch.no_grad()`, inference mode or autocast.

    In a process group (`torch.distributed`) every process has to call it, with the same
    loader. Each attacks its share of the batches, no image twice, and all of them get
    the report on all images.

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames), as they come
            from a `DataLoader` over a `LightlyDataset`.
        threat_model: What the attacks may do. Its `normalize` must be what the
            transform of the loader did to the images.
        suite: Which attacks to run; a name, or a `Suite`.
        max_samples: Evaluate only the first that many images. Defaults to what the
            suite evaluates, which is all of them but with "smoke".
        device: Where to evaluate; the model is moved there, and stays there. None
            stands for the device of the model.
        seed: Seed of the noise of the attacks. With the same seed and the same batches,
            the result is the same.
        progress: Show a progress bar.
        state: File that the verdicts are kept in. If it is there, the evaluation goes
            on behind the batches that it knows; the loader has to give the same ones.
            In a process group every process has its own, whose name ends in its number.
        checks: What to look at, on up to 64 of the images, to tell whether the
            numbers can be believed; what is found is in `checks` of the report, and
            doubts among its warnings. None stands for what the suite looks at: all
            there is, and with "smoke" nothing. An empty list for nothing.
        surrogate: Another classifier, which takes the same images: those that stand
            should not fall to an attack on this one. One of the checks.

    Returns:
        A report with accuracies in percent, one flag per image and attack, warnings.

    Raises:
        TypeError: If a batch, the labels or the output of the model are of the wrong
            type, if the images have an integer dtype, or if the model has weights
            of another dtype and does not take them.
        ValueError: If the loader is empty, if the logits are NaN, of another shape, of
            fewer than two classes or too few for a label, if the images leave the
            range of pixels, if the state is that of another evaluation or model, or if
            there is a surrogate and no check.
        UnconfirmedError: If the model, asked again, does not stand by its answers; if
            it was moved in a way that cannot be undone.

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
    checks = suite.checks if checks is None else checks
    _check_surrogate(surrogate, checks)
    where = batches.place(model, device)
    if surrogate is not None:
        batches.place(surrogate, where)
    precision = _precision_warnings(model, where)
    attacks = suite.create_attacks(threat_model)
    settings = {name: attack.settings() for name, attack in attacks.items()}
    evaluation = Evaluation(
        model,
        where,
        {
            "suite": suite.name,
            "attacks": settings,
            "threat model": describe_threat_model(threat_model),
        },
        seed=seed,
        state=state,
        progress=progress,
        surrogate=surrogate,
    )
    limits = (n for n in (suite.max_samples, max_samples) if n is not None)
    limit = min(limits, default=None)
    sample, overshoot = Sample(), Overshoot(threat_model)
    # What the report warns of, over all images, is not said batch by batch.
    once = notices.once({"overshoot"})
    with once, evaluation.undisturbed() as (untouched, other):
        results = evaluation.run(
            overshoot.of(sample.of(batches.first(loader, limit))),
            lambda batch: verdicts.attack_batch(
                untouched, batch.images, batch.labels, attacks, key=batch.key
            ),
            total=batches.count(loader, limit),
            description="attacked",
        )
        flags = verdicts.joined([result.flags for result in results])

        def context() -> CheckContext:
            images, labels = (each.to(where) for each in sample.batch())
            correct, robust = (
                flag[sample.places].to(where)
                for flag in (flags["clean"], list(flags.values())[-1])
            )
            return CheckContext(
                model=untouched,
                images=images,
                labels=labels,
                correct=correct,
                robust=robust,
                threat_model=threat_model,
                attacks=attacks,
                seed=seed,
                batch_size=evaluation.batch_size,
                surrogate=other,
            )

        found = _checked(evaluation, checks, context)
    softmax = probabilities(all(result.probabilities for result in results))
    return RobustnessReport(
        suite=suite.name,
        threat_model=threat_model,
        flags=flags,
        labels=torch.cat([result.labels for result in results]),
        predictions=verdicts.joined([result.predictions for result in results]),
        attacks=settings,
        warnings=[
            *precision,
            *overshoot.warnings(),
            *inspection.warnings_of([softmax, *found]),
        ],
        notes=[
            note
            for attack in attacks.values()
            for note in attack.notes(classes=results[0].classes)
        ],
        checks=[softmax, *found],
        **evaluation.facts(),
    )


def _checked(
    evaluation: Evaluation,
    checks: Sequence[CheckFunction[CheckContext]],
    context: Callable[[], CheckContext],
) -> list[Check]:
    """Return the results of the checks, which the first process makes for all."""
    names, kept = [name_of(check) for check in checks], evaluation.kept

    def look() -> list[Check]:
        data = evaluation.data_digest
        known = kept.find_checks(names, data) if kept is not None else None
        if known is not None:
            return known
        bar = evaluation.bar(total=len(names), unit="checks", desc="checked")
        results = inspection.inspect(context(), checks, bar)
        if kept is not None:
            kept.add_checks(results, data)
        return results

    return processes.by_the_first(look) if names else []


def robust_curve(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    eps_values: Sequence[float],
    *,
    suite: str | Suite = "pgd-20",
    max_samples: int | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
) -> list[RobustnessReport]:
    """Evaluate one model at several radii.

    Accuracy should fall to about 0 as eps grows; if it does not, the attacks are too
    weak for this model, and its robust accuracy means nothing.

    Args:
        model: See `evaluate_robustness`, also for all that is not explained here.
        loader: Batches; they are gone through once per radius.
        threat_model: Gives all but the radius.
        eps_values: Radii, in pixels: of [0, 1], or of the bounds.
        suite: Which attacks to run. Let their steps grow with eps (step_size=None).
        max_samples: Evaluate only the first that many images.
        device: Where to evaluate.
        seed: Seed of the noise of the attacks.
        progress: Show progress bars.
        state: File that the verdicts are kept in; one per radius, which is added to
            its name.

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
            max_samples=max_samples,
            device=device,
            seed=seed,
            progress=progress,
            state=None if state is None else f"{os.fspath(state)}.{eps:.6g}",
            checks=(),
        )
        for eps in eps_values
    ]


def _check_surrogate(
    surrogate: nn.Module | None, checks: Sequence[CheckFunction[CheckContext]]
) -> None:
    if surrogate is not None and not checks:
        raise ValueError(
            "a surrogate was given and no check that could use it; give the checks, "
            "such as lightly_adv.evaluation.checks.STANDARD, or no surrogate."
        )


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
