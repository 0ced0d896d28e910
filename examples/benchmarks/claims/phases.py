"""The phases of the experiment: each needs results of the one before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from claims import training
from claims.jobs import Job, Progress, Workers
from claims.settings import (
    SCRATCH,
    Arm,
    Settings,
    arms_of,
    pretraining_of,
    protocols_of,
)

TASKS, SEEDS = "ensemble-of-tasks", "ensemble-of-seeds"
"""Ensembles of classifiers: of several tasks, and of several seeds of one task."""

IMAGES, TEST_IMAGES = 20_000, 5_000
"""Assumed numbers of images, only for the estimate of the remaining time."""

Members = list[tuple[Path, str]]
"""Weights and protocol of each member of an ensemble, or of one classifier."""


@dataclass(frozen=True)
class Classifier:
    """An arm fine-tuned by a protocol, for a multiple of its epochs."""

    arm: Arm
    protocol: str
    factor: int = 1

    @property
    def name(self) -> str:
        times = f"-x{self.factor}" if self.factor > 1 else ""
        return f"{self.arm.name}-{self.protocol}{times}"

    @property
    def title(self) -> str:
        times = f", {self.factor} x epochs" if self.factor > 1 else ""
        return f"{self.arm.title}, {self.protocol}{times}"


@dataclass(frozen=True)
class Experiment:
    """All jobs, and where their results are.

    Args:
        settings: See `settings.read`.
        root: Folder of the images.
        out: Folder of the results.
    """

    settings: Settings
    root: Path
    out: Path

    def __post_init__(self) -> None:
        """Check that there are enough seeds for the ensemble of seeds."""
        if len(self.seeds) < len(self.members):
            raise SystemExit(
                f"seeds {self.seeds} are too few: the ensemble of seeds has as many "
                f"members as that of tasks, so give at least {len(self.members)}."
            )

    @property
    def seeds(self) -> list[int]:
        """The seeds; each is that of pre-training, labels, and fine-tuning."""
        seeds: list[int] = self.settings["seeds"]
        return seeds

    @cached_property
    def classifiers(self) -> list[Classifier]:
        """Every arm by every protocol; scratch by AFF only, also twice as long."""
        scratch = [Classifier(SCRATCH, "AFF"), Classifier(SCRATCH, "AFF", factor=2)]
        return scratch + [
            Classifier(arm, protocol)
            for arm in arms_of(self.settings)
            for protocol in protocols_of(self.settings, arm)
        ]

    @cached_property
    def singles(self) -> list[Classifier]:
        """Adversarial pre-training and fine-tuning, of each task by itself."""
        tasks = self.settings["pretraining"]["tasks"]
        return [Classifier(Arm("adversarial", task), "AFF") for task in tasks]

    @cached_property
    def members(self) -> list[Classifier]:
        """The classifiers of the tasks in the ensemble."""
        tasks = self.settings["pretraining"]["ensemble"]["tasks"]
        return [each for each in self.singles if each.arm.task in tasks]

    def run(self, workers: Workers) -> None:
        """Run all phases, each a list of jobs."""
        for part in ("suite", "strong"):  # what is missing is told before days of work
            training.suite_of(self.settings["evaluation"][part])
        progress = Progress(self._expected_cost())
        for phase in (
            self.pretraining,
            self.tuning,
            self.finetuning,
            self.control,
            self.testing,
        ):
            workers.run(phase(), progress)

    def pretraining(self) -> list[Job]:
        """Train every arm with every seed."""
        return [
            self._job(
                f"seed {seed}, pre-training, {arm.title}",
                self._backbone(arm, seed).with_suffix(".json"),
                training.pretrain,
                {"arm": arm, "seed": seed},
                cost=self._pretraining_cost(arm),
            )
            for arm in arms_of(self.settings)
            for seed in self.seeds
        ]

    def tuning(self) -> list[Job]:
        """Fine-tune with every learning rate, for the first seed."""
        return [
            self._finetuning_job(each, self.seeds[0], lr)
            for each in self.classifiers
            for lr in self._rates(each)
        ]

    def finetuning(self) -> list[Job]:
        """Fine-tune with the chosen learning rate, for all seeds."""
        return [
            self._finetuning_job(each, seed, self.best_rate(each))
            for each in self.classifiers
            for seed in self.seeds
        ]

    def control(self) -> list[Job]:
        """Fine-tune the other members of the ensembles of seeds."""
        return [job for seed in self.seeds for job in self._control_jobs(seed)]

    def testing(self) -> list[Job]:
        """Attack every classifier and ensemble on the test images."""
        jobs = []
        for seed in self.seeds:
            for name, members in self.tested(seed).items():
                jobs.append(self._test_job(name, members, seed, "suite"))
            for name, members in self.key_rows(seed).items():
                jobs.append(self._test_job(name, members, seed, "strong"))
        return jobs

    def tested(self, seed: int) -> dict[str, Members]:
        """Return the members of every row of the table."""
        rows = {each.name: self._members([each], seed) for each in self.classifiers}
        control = [
            (job.path.with_suffix(".pt"), "AFF") for job in self._control_jobs(seed)
        ]
        best = self._members([self.best_member()], seed)
        ensembles = {TASKS: self._members(self.members, seed), SEEDS: best + control}
        return rows | ensembles

    def key_rows(self, seed: int) -> dict[str, Members]:
        """Return the rows that are also attacked by the strong suite."""
        tasks = {self.best_single().arm.task, self.best_member().arm.task}
        names = [self.classifiers[0].name, TASKS, SEEDS]
        names += [
            each.name
            for each in self.classifiers
            if each.arm.task in tasks and each.protocol in ("SLF", "AFF")
        ]
        tested = self.tested(seed)
        return {name: tested[name] for name in names}

    def best_rate(self, classifier: Classifier) -> float:
        """Return the learning rate with the best validation accuracy, first seed."""
        rates = self._rates(classifier)
        return max(rates, key=lambda lr: self._score(classifier, self.seeds[0], lr))

    def best_single(self) -> Classifier:
        """Return the best task, by robust validation accuracy."""
        return max(self.singles, key=self.validation_accuracy)

    def best_member(self) -> Classifier:
        """Return the best task of the ensemble, by robust validation accuracy."""
        return max(self.members, key=self.validation_accuracy)

    def validation_accuracy(self, classifier: Classifier) -> float:
        """Return the last accuracy on validation images, mean over the seeds."""
        lr = self.best_rate(classifier)
        return fmean(self._score(classifier, seed, lr) for seed in self.seeds)

    def result(self, classifier: Classifier, seed: int) -> dict[str, Any]:
        """Return what fine-tuning wrote."""
        path = self._finetuned(classifier, seed, self.best_rate(classifier))
        return _read(path)

    def pretraining_result(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Return what pre-training wrote."""
        return _read(self._backbone(arm, seed).with_suffix(".json"))

    def test_result(self, name: str, seed: int, part: str) -> dict[str, Any]:
        """Return what the attack on the test images found."""
        return _read(self._tested(name, seed, part))

    def _members(self, classifiers: list[Classifier], seed: int) -> Members:
        found = []
        for each in classifiers:
            path = self._finetuned(each, seed, self.best_rate(each))
            found.append((path.with_suffix(".pt"), each.protocol))
        return found

    def _rates(self, classifier: Classifier) -> list[float]:
        protocols = self.settings["finetuning"]["protocols"]
        return list(protocols[classifier.protocol]["lr"])

    def _score(self, classifier: Classifier, seed: int, lr: float) -> float:
        result = _read(self._finetuned(classifier, seed, lr))
        attacked = self.settings["finetuning"]["protocols"][classifier.protocol][
            "attacked"
        ]
        return float(result["val_robust" if attacked else "val_clean"][-1])

    def _finetuning_job(self, classifier: Classifier, seed: int, lr: float) -> Job:
        arm = classifier.arm
        arguments = {
            "backbone": None if arm == SCRATCH else self._backbone(arm, seed),
            "protocol": classifier.protocol,
            "lr": lr,
            "factor": classifier.factor,
            "seed": seed,
        }
        return self._job(
            f"seed {seed}, {classifier.title}, lr {lr:g}",
            self._finetuned(classifier, seed, lr),
            training.finetune,
            arguments,
            cost=self._finetuning_cost(classifier),
        )

    def _control_jobs(self, seed: int) -> list[Job]:
        """Fine-tune the best member from the backbones of other seeds.

        All else, labels, initial head, order and noise, is that of the ensemble of
        tasks, so that the members of both differ in their backbones only.
        """
        best = self.best_member()
        jobs = []
        for turn in range(1, len(self.members)):
            at = self.seeds.index(seed) + turn
            source = self.seeds[at % len(self.seeds)]
            job = self._finetuning_job(best, seed, self.best_rate(best))
            job.arguments["backbone"] = self._backbone(best.arm, source)
            job.path = job.path.with_name(f"control-{turn}-{best.name}.json")
            job.name = f"seed {seed}, control {turn}, {best.title}"
            jobs.append(job)
        return jobs

    def _test_job(self, name: str, members: Members, seed: int, part: str) -> Job:
        arguments = {
            "members": members,
            "suite": self.settings["evaluation"][part],
            "seed": seed,
        }
        # About 0.4 of the images are classified correctly without an attack.
        cost = 0.4 * 20 * TEST_IMAGES * len(members)
        path = self._tested(name, seed, part)
        return self._job(
            f"seed {seed}, {part}, {name}", path, training.test, arguments, cost
        )

    def _job(
        self,
        name: str,
        path: Path,
        call: Callable[..., None],
        arguments: dict[str, Any],
        cost: float,
    ) -> Job:
        common = {"settings": self.settings, "root": self.root}
        return Job(name, path, call, common | arguments, cost)

    def _backbone(self, arm: Arm, seed: int) -> Path:
        return self._folder(seed) / f"pretrain-{arm.name}.safetensors"

    def _finetuned(self, classifier: Classifier, seed: int, lr: float) -> Path:
        return self._folder(seed) / f"{classifier.name}-lr-{lr:g}.json"

    def _tested(self, name: str, seed: int, part: str) -> Path:
        return self._folder(seed) / f"test-{part}-{name}.json"

    def _folder(self, seed: int) -> Path:
        return self.out / f"seed-{seed}"

    def _pretraining_cost(self, arm: Arm) -> float:
        chosen = pretraining_of(self.settings, arm)
        passes = chosen["epochs"] * training.passes_of(self.settings, arm)
        ensemble = chosen["ensemble"]
        # Second derivatives take longer.
        longer = 1.0
        if ensemble["diversity"].get(arm.diversity):
            longer = 3.0 if ensemble["in_attack"] else 1.5
        return float(IMAGES * chosen["fraction"] * passes * longer)

    def _finetuning_cost(self, classifier: Classifier) -> float:
        chosen = self.settings["finetuning"]
        how = chosen["protocols"][classifier.protocol]
        passes = training.finetuning_passes_of(self.settings, classifier.protocol)
        labels = chosen["num_labelled"] or IMAGES
        return float(classifier.factor * how["epochs"] * labels * passes)

    def _expected_cost(self) -> float:
        """Return the cost of all phases, before the later ones can be listed."""
        count = len(self.seeds)
        fits = [
            self._finetuning_cost(each) * (count - 1 + len(self._rates(each)))
            for each in self.classifiers
        ]
        control = (
            (len(self.members) - 1) * count * self._finetuning_cost(self.members[0])
        )
        tests = count * (len(self.classifiers) + 2 * len(self.members) + 6)
        return (
            sum(job.cost for job in self.pretraining())
            + sum(fits)
            + control
            + 0.4 * 20 * TEST_IMAGES * tests
        )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
