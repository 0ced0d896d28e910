"""From results to rows, differences, Markdown and a figure."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from claims.phases import SEEDS, TASKS, Classifier, Experiment
from claims.settings import ENSEMBLE, SCRATCH, Arm, protocols_of
from lightly_adv.evaluation import figures
from lightly_adv.evaluation.comparison import paired_difference

Row = dict[str, Any]

KEYS = ("clean_accuracy", "robust_accuracy")
PACKAGES = ("lightly-adv", "torch", "lightly", "timm", "pytorch-lightning")


def collect(experiment: Experiment) -> dict[str, Any]:
    """Return the content of results.json."""
    return {
        "rows": rows(experiment),
        "differences": differences(experiment),
        "best_task": experiment.best_single().arm.task,
        "best_task_of_the_ensemble": experiment.best_member().arm.task,
        "seeds": experiment.seeds,
        "settings": experiment.settings,
        "job": _spent(experiment),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def rows(experiment: Experiment) -> list[Row]:
    """Return one row for every classifier and ensemble, with the seeds' values."""
    baseline = _baseline(experiment)
    found = [
        _classifier_row(experiment, each, baseline) for each in experiment.classifiers
    ]
    best = experiment.best_member()
    sizes = {TASKS: experiment.members, SEEDS: [best] * len(experiment.members)}
    found += [_ensemble_row(experiment, name, each) for name, each in sizes.items()]
    strong = experiment.key_rows(experiment.seeds[0])
    for row in found:
        if row["key"] in strong:
            row["strong"] = _accuracies(experiment, row["key"], "strong")
    return found


def differences(experiment: Experiment) -> list[Row]:
    """Return the differences in robust accuracy that the claims are about."""
    return [
        _difference(experiment, claim, first, second, part)
        for claim, first, second, part in _comparisons(experiment)
    ]


def _comparisons(experiment: Experiment) -> list[tuple[str, str, str, str]]:
    scratch, longer = (each.name for each in experiment.classifiers[:2])
    found = []
    for single in experiment.singles:
        found += [("a", single.name, each, "suite") for each in (scratch, longer)]
    for single in experiment.singles:
        standard = Arm("standard", single.arm.task)
        for protocol in protocols_of(experiment.settings, standard):
            pair = (Classifier(each, protocol) for each in (single.arm, standard))
            found.append(("b", *(each.name for each in pair), "suite"))
    found += _ensemble_comparisons(experiment)
    key = experiment.key_rows(experiment.seeds[0])
    return found + [
        (claim, first, second, "strong")
        for claim, first, second, _ in found
        if first in key and second in key
    ]


def _ensemble_comparisons(
    experiment: Experiment,
) -> list[tuple[str, str, str, str]]:
    off, on, reversed_ = (
        Arm("adversarial", ENSEMBLE, each) for each in ("off", "on", "reversed")
    )
    bests = dict.fromkeys([experiment.best_single(), experiment.best_member()])
    found = []
    for protocol in protocols_of(experiment.settings, off):
        name = Classifier(off, protocol).name
        for best in bests:
            if protocol in protocols_of(experiment.settings, best.arm):
                found.append(("d", name, Classifier(best.arm, protocol).name, "suite"))
        for arm in (on, reversed_):
            found.append(("e", Classifier(arm, protocol).name, name, "suite"))
    for ensemble in (TASKS, SEEDS):
        found += [("d", ensemble, best.name, "suite") for best in bests]
    return [*found, ("d", TASKS, SEEDS, "suite")]


def _difference(
    experiment: Experiment, claim: str, first: str, second: str, part: str
) -> Row:
    flags = []
    for name in (first, second):
        results = [experiment.test_result(name, s, part) for s in experiment.seeds]
        flags.append(torch.tensor([each["flags"]["robust"] for each in results]))
    draws = experiment.settings["evaluation"]["draws"]
    found = paired_difference(flags[0], flags[1], draws=draws)
    each = (100 * (flags[0].double() - flags[1].double()).mean(dim=1)).tolist()
    return {
        "claim": claim,
        "first": first,
        "second": second,
        "part": part,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "seeds": dict(zip(map(str, experiment.seeds), each, strict=True)),
    }


def _classifier_row(
    experiment: Experiment, classifier: Classifier, baseline: dict[int, float]
) -> Row:
    arm = classifier.arm
    results = {seed: experiment.result(classifier, seed) for seed in experiment.seeds}
    before = {
        seed: {"passes": 0, "seconds": 0.0, "epochs": 0}
        if arm == SCRATCH
        else experiment.pretraining_result(arm, seed)
        for seed in experiment.seeds
    }
    reached = {seed: _reached(results[seed], baseline[seed]) for seed in results}
    every = [each for each in reached.values() if each is not None]
    epochs = fmean(every) if len(every) == len(reached) else None
    one = next(iter(results.values()))
    passes_before = next(iter(before.values()))["passes"]
    return {
        "name": classifier.title,
        "key": classifier.name,
        "pretraining": arm.pretraining,
        "task": arm.task,
        "finetuning": classifier.protocol,
        **_accuracies(experiment, classifier.name, "suite"),
        "lr": experiment.best_rate(classifier),
        "epochs": one["epochs"],
        "pretraining_epochs": next(iter(before.values()))["epochs"],
        "passes": one["passes"] + passes_before,
        "finetuning_passes": one["passes"],
        "seconds": fmean(results[s]["seconds"] + before[s]["seconds"] for s in results),
        "epochs_to_best": fmean(_to_best(each) for each in results.values()),
        "epochs_to_baseline": epochs,
        "epochs_to_baseline_seeds": {str(s): each for s, each in reached.items()},
        "passes_to_baseline": epochs and epochs * one["passes_per_epoch"],
        "passes_to_baseline_with_pretraining": epochs
        and epochs * one["passes_per_epoch"] + passes_before,
    }


def _ensemble_row(
    experiment: Experiment, name: str, members: Sequence[Classifier]
) -> Row:
    rows = [
        _classifier_row(experiment, each, _baseline(experiment)) for each in members
    ]
    best = experiment.best_member().arm.task
    titles = {
        TASKS: f"ensemble of {len(members)} tasks",
        SEEDS: f"ensemble of {len(members)} seeds of {best}",
    }
    return {
        "name": titles[name],
        "key": name,
        "pretraining": "adversarial",
        "task": ", ".join(str(each.arm.task) for each in members)
        if name == TASKS
        else best,
        "finetuning": "ensemble",
        **_accuracies(experiment, name, "suite"),
        **{key: sum(row[key] for row in rows) for key in ("passes", "seconds")},
        "epochs": rows[0]["epochs"],
        "epochs_to_best": fmean(row["epochs_to_best"] for row in rows),
    }


def _accuracies(experiment: Experiment, name: str, part: str) -> Row:
    found = {s: experiment.test_result(name, s, part) for s in experiment.seeds}
    return {
        **{key: fmean(each[key] for each in found.values()) for key in KEYS},
        "suite": found[experiment.seeds[0]]["suite"],
        "seeds": {
            str(s): {key: each[key] for key in KEYS} for s, each in found.items()
        },
    }


def _baseline(experiment: Experiment) -> dict[int, float]:
    """Return the best robust validation accuracy of scratch, by seed."""
    scratch = experiment.classifiers[0]
    return {
        seed: max(experiment.result(scratch, seed)["val_robust"])
        for seed in experiment.seeds
    }


def _reached(result: Row, target: float) -> int | None:
    """Return after how many epochs validation accuracy reaches the target, if ever."""
    history = result["val_robust"]
    every = result["epochs"] // len(history)
    reached = (n for n, value in enumerate(history, 1) if value >= target)
    return next((every * n for n in reached), None)


def _to_best(result: Row) -> int:
    """Return after how many epochs the validation accuracy is highest."""
    history = result["val_robust"]
    every: int = result["epochs"] // len(history)
    return every * (1 + history.index(max(history)))


def _spent(experiment: Experiment) -> dict[str, float]:
    """Return the time of all jobs together, those of earlier calls included."""
    results = (json.loads(p.read_text()) for p in experiment.out.glob("seed-*/*.json"))
    # A kill may come between a result and the note of what it took.
    jobs = [each["job"] for each in results if "job" in each]
    return {
        key: sum(job[key] for job in jobs) for key in ("seconds", "processor_seconds")
    }


def markdown(content: dict[str, Any]) -> str:
    """Return tables of rows and differences."""
    lines = [
        "| pre-training, fine-tuning | clean | robust | seeds "
        "| epochs to scratch's best | passes to it, with pre-training (thousands) "
        "| all passes | strong |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in content["rows"]:
        each = [seed["robust_accuracy"] for seed in row["seeds"].values()]
        spread = ", ".join(f"{value:.1f}" for value in each)
        spread += f" (sd {stdev(each):.1f})" if len(each) > 1 else ""
        epochs = row.get("epochs_to_baseline")
        strong = row.get("strong", {}).get("robust_accuracy")
        reached = "- | -"
        if epochs is not None:
            passes = (
                row["passes_to_baseline"],
                row["passes_to_baseline_with_pretraining"],
            )
            own, both = (each / 1000 for each in passes)
            reached = f"{epochs:.1f} | {own:.0f}, {both:.0f}"
        again = "" if strong is None else f"{strong:.1f}"
        lines.append(
            f"| {row['name']} | {row['clean_accuracy']:.1f} "
            f"| {row['robust_accuracy']:.1f} | {spread} "
            f"| {reached} | {row['passes'] / 1000:.0f} | {again} |"
        )
    lines += [
        "",
        "| claim | comparison | difference | seeds |",
        "| --- | --- | --- | --- |",
    ]
    for each in content["differences"]:
        seeds = ", ".join(f"{value:+.1f}" for value in each["seeds"].values())
        strong = ", strong attack" if each["part"] == "strong" else ""
        lines.append(
            f"| ({each['claim']}) | {each['first']} - {each['second']}{strong} "
            f"| {each['difference']:+.1f} [{each['low']:+.1f}, {each['high']:+.1f}] "
            f"| {seeds} |"
        )
    minutes = {key: value / 60 for key, value in content["job"].items()}
    lines += [
        "",
        f"All jobs together took {minutes['seconds']:.0f} minutes, and "
        f"{minutes['processor_seconds']:.0f} minutes of processor time.",
    ]
    return "\n".join(lines) + "\n"


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw clean against robust accuracy, as Figure 1 of the paper does.

    The size of a marker shows the epochs until robust accuracy was best.
    """
    shown = [row for row in content["rows"] if row["finetuning"] in ("AFF", "ensemble")]
    figure = figures.accuracy_scatter(shown, size="epochs_to_best")
    figures.save(figure, path)
