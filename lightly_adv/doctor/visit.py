"""Stand where adversarial training would stand, look, and leave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.doctor import feed, prescription, trim
from lightly_adv.doctor.failures import failure
from lightly_adv.doctor.patient import Patient
from lightly_adv.evaluation.checks.check import Check, CheckFunction, run_check
from lightly_adv.lightning import pl
from lightly_adv.training.step_objective import StepSkippedError
from lightly_adv.training.views import Step


class FinishedError(Exception):
    """The examination is over; training ends before the first step is taken."""


class Doctor(AdversarialTraining):
    """Runs checks in the first training step, in the place of adversarial training.

    There the precision, the device, the hooks of the batch and what `self.trainer`
    gives are those of training. It ends by `FinishedError`, so that no step is taken.

    Args:
        patient: What is known before training starts; the rest is filled in.
        checks: The checks to make.
    """

    def __init__(
        self, patient: Patient, checks: Iterable[CheckFunction[Patient]]
    ) -> None:
        super().__init__(patient.training.attack)
        self.patient = patient
        self.checks = checks
        self.results: list[Check] = []

    def setup(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Take the place of the callback that the module itself configures."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        others = [
            each
            for each in callbacks
            if isinstance(each, AdversarialTraining) and each is not self
        ]
        # In place: Lightning is going through this list, and has not come to them yet.
        callbacks[:] = [each for each in callbacks if each not in others]
        if others and self.patient.guess:
            prescription.prescribe(self.patient, others[0])
        super().setup(trainer, pl_module, stage)

    def _training_step(
        self, module: pl.LightningModule, original: Step, batch: Any
    ) -> Any:
        patient = self.patient
        patient.module, patient.batch, patient.step = module, batch, original
        feed.feed(patient)
        prescription.choose(patient)
        trim.hurry(patient)
        patient.precision = str(module.trainer.precision)
        patient.steps_per_epoch = float(module.trainer.num_training_batches)
        self.results = examine(patient, self.checks)
        raise FinishedError


def examine(patient: Patient, checks: Iterable[CheckFunction[Patient]]) -> list[Check]:
    """Make the checks; what one has failed of already is a reason to skip others."""
    results: list[Check] = []
    for check in checks:
        for result in run_check(check, patient, on_error=_on_error):
            reported = any(each.message == result.message for each in results)
            if result.traceback and reported:
                result = Check(result.name, "SKIP", result.message)
            results.append(result)
    return results


def _on_error(name: str, error: BaseException) -> Check:
    if isinstance(error, StepSkippedError):
        return Check(name, "SKIP", str(error))
    return failure(name, error)
