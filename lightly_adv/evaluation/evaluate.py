"""Measure clean and robust accuracy of a classifier."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from lightly_adv.attacks import Attack, notices
from lightly_adv.evaluation import batches, classification, encoding, processes, suites
from lightly_adv.evaluation.checks import Check, CheckContext, CheckFunction, inspection
from lightly_adv.evaluation.checks.check import name_of
from lightly_adv.evaluation.checks.outputs import probabilities
from lightly_adv.evaluation.checks.sample import Sample
from lightly_adv.evaluation.evaluation import (
    Evaluation,
    EvaluationOptions,
    check_options,
)
from lightly_adv.evaluation.overshoot import Overshoot
from lightly_adv.evaluation.robustness_report import RobustnessReport
from lightly_adv.evaluation.suites import Suite
from lightly_adv.threat_model import ThreatModel


def evaluate_robustness(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    *,
    suite: str | Suite = "pgd-20",
    checks: Sequence[CheckFunction[CheckContext]] | None = None,
    surrogate: nn.Module | None = None,
    **options: Unpack[EvaluationOptions],
) -> RobustnessReport:
    """Measure how many images are correctly classified, clean and under attack.

    An image is robust if it is correctly classified without an attack and under every
    attack of the suite. Everything runs in float32 and in eval mode, also inside of
    `torch.no_grad()`, inference mode or autocast. Afterwards the model is what it was,
    with weights, buffers, gradients and flags, and so are the global random states. In
    a process group every process has to call it with the same loader; each attacks its
    share of the batches, and all of them get the report on all images.

    Args:
        model: Maps images of shape (B, C, H, W) to logits of shape (B, classes).
        loader: Batches (images, labels) or (images, labels, filenames).
        threat_model: What the attacks may do. Its `normalize` must be what the
            transform of the loader did to the images.
        suite: Which attacks to run; a name, or a `Suite`.
        checks: What to check, on up to 64 of the images, to tell whether the numbers
            can be believed. Defaults to the checks of the suite.
        surrogate: Another classifier, to attack this one by; one of the checks.
        **options: `max_samples`, by default that of the suite, `device`, `seed`,
            `progress` and `state`; see `EvaluationOptions`.

    Raises:
        TypeError: If a batch, the labels or the output of the model are of the wrong
            type.
        ValueError: If there is no image, if the logits are NaN or do not fit the
            labels, if the images leave the range of pixels, if the state is that of
            another evaluation or model, or if there is a surrogate and no check.
        UnconfirmedError: If the model does not repeat its answers, or was changed in a
            way that cannot be undone.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 5)]
        >>> report = evaluate_robustness(model, batches, ThreatModel(eps=8 / 255))
        >>> report.num_samples, list(report.flags)
        (8, ['clean', 'pgd'])
    """
    check_options(evaluate_robustness, options)
    suite = suites.resolve(suite)
    checks = suite.checks if checks is None else checks
    _check_surrogate(surrogate, checks)
    attacks = suite.create_attacks(threat_model)
    evaluation = Evaluation(
        {"model": model} if surrogate is None else {"model": model, SECOND: surrogate},
        {
            "suite": suite.name,
            "attacks": {name: attack.settings() for name, attack in attacks.items()},
            "threat model": encoding.encode(threat_model),
        },
        **options,
    )
    return _report(evaluation, loader, threat_model, suite, attacks, checks)


def _report(
    evaluation: Evaluation,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    suite: Suite,
    attacks: Mapping[str, Attack],
    checks: Sequence[CheckFunction[CheckContext]],
) -> RobustnessReport:
    """Attack, check and report."""
    warnings = _precision_warnings(evaluation.models["model"], evaluation.device)
    limit = evaluation.max_samples
    limit = suite.max_samples if limit is None else limit
    sample, overshoot = Sample(), Overshoot(threat_model)
    # What the report warns of, over all images, is not said batch by batch.
    with notices.once({"overshoot"}), evaluation.isolated() as models:
        results = evaluation.run(
            overshoot.of(sample.of(batches.first(loader, limit))),
            lambda batch: classification.attack_batch(
                models["model"], batch.images, batch.labels, attacks, key=batch.key
            ),
            total=batches.count(loader, limit),
            description="attacked",
        )
        flags = batches.joined([result.flags for result in results])
        values = batches.joined([result.values for result in results])
        checked = _checked(
            evaluation,
            checks,
            lambda: _context(evaluation, sample, flags, threat_model, attacks),
        )
    checked.insert(0, probabilities(bool(values["probabilities"].all())))
    classes = int(values["classes"][0])
    return RobustnessReport(
        suite=suite.name,
        threat_model=threat_model,
        flags=flags,
        labels=values["labels"],
        predictions={name: values[name] for name in ("clean", "attacked")},
        attacks={name: attack.settings() for name, attack in attacks.items()},
        warnings=warnings + overshoot.warnings() + inspection.warnings_of(checked),
        notes=[x for each in attacks.values() for x in each.notes(classes=classes)],
        checks=checked,
        **evaluation.facts(),
    )


SECOND = "surrogate"
"""Name of the second classifier in an evaluation."""


def _context(
    evaluation: Evaluation,
    sample: Sample,
    flags: Mapping[str, Tensor],
    threat_model: ThreatModel,
    attacks: Mapping[str, Attack],
) -> CheckContext:
    """Return what the checks look at, inside of `Evaluation.isolated`."""
    images, labels = (part.to(evaluation.device) for part in sample.batch())
    clean, *_, robust = (
        flag[sample.indices].to(evaluation.device) for flag in flags.values()
    )
    return CheckContext(
        model=evaluation.isolated_models["model"],
        images=images,
        labels=labels,
        correct=clean,
        robust=robust,
        threat_model=threat_model,
        attacks=attacks,
        seed=evaluation.seed,
        batch_size=evaluation.batch_size,
        surrogate=evaluation.isolated_models.get(SECOND),
    )


def _checked(
    evaluation: Evaluation,
    checks: Sequence[CheckFunction[CheckContext]],
    context: Callable[[], CheckContext],
) -> list[Check]:
    """Return the results of the checks, which the first process makes for all."""
    names, kept = [name_of(check) for check in checks], evaluation.kept

    def run() -> list[Check]:
        data = evaluation.data_digest
        results = kept.find_checks(names, data) if kept is not None else None
        if results is None:
            bar = evaluation.bar(total=len(names), unit="checks", desc="checked")
            results = inspection.inspect(context(), checks, bar)
            if kept is not None:
                kept.add_checks(results, data)
        return list(results)

    return processes.by_the_first(run) if names else []


def robust_curve(
    model: nn.Module,
    loader: Iterable[Any],
    threat_model: ThreatModel,
    eps_values: Sequence[float],
    *,
    suite: str | Suite = "pgd-20",
    **options: Unpack[EvaluationOptions],
) -> list[RobustnessReport]:
    """Evaluate one model at several radii, without checks.

    Accuracy should fall to about 0 as eps grows; if it does not, the attacks are too
    weak for this model, and its robust accuracy means nothing.

    Args:
        model: See `evaluate_robustness`.
        loader: Batches; it is iterated once per radius.
        threat_model: Gives all but the radius.
        eps_values: Radii, in pixels: of [0, 1], or of the bounds.
        suite: Which attacks to run. Let their steps grow with eps (step_size=None).
        **options: See `EvaluationOptions`. There is a state file for each radius,
            which is added to its name.

    Returns:
        One report per radius, in the order of `eps_values`.

    Examples:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 5)]
        >>> reports = robust_curve(model, batches, ThreatModel(), [0.0, 0.5])
        >>> reports[0].robust_accuracy == reports[0].clean_accuracy
        True
    """
    check_options(robust_curve, options)
    state, reports = options.get("state"), []
    for eps in eps_values:
        if state is not None:
            options["state"] = f"{os.fspath(state)}.{eps:.6g}"
        ball = dataclasses.replace(threat_model, eps=eps)
        report = evaluate_robustness(
            model, loader, ball, suite=suite, checks=(), **options
        )
        reports.append(report)
    return reports


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
