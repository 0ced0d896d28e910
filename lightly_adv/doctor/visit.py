"""Stand where adversarial training would stand, look, and leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.doctor import feed, prescription, trim
from lightly_adv.doctor.failures import SkipError, failure
from lightly_adv.doctor.findings import Finding
from lightly_adv.doctor.patient import Patient
from lightly_adv.lightning import pl
from lightly_adv.training.step_objective import StepSkippedError
from lightly_adv.training.views import Step

Check: TypeAlias = Callable[[Patient], Iterable[Finding]]
"""A check; it raises `SkipError` where it cannot be made."""


class FinishedError(Exception):
    """The examination is over; training ends before the first step is taken."""


class Doctor(AdversarialTraining):
    """Runs checks in the first training step, in the place of adversarial training.

    There the precision, the device, the hooks of the batch and what `self.trainer`
    gives are those of training. It ends by `FinishedError`, so that no step is taken.

    Args:
        patient: What is known before training starts; the rest is filled in.
        checks: The checks by name.
    """

    def __init__(self, patient: Patient, checks: Mapping[str, Check]) -> None:
        super().__init__(patient.training.attack)
        self.patient = patient
        self.checks = checks
        self.findings: list[Finding] = []
        self.skipped: list[str] = []

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
        self.findings, self.skipped = examine(patient, self.checks)
        raise FinishedError


def examine(
    patient: Patient, checks: Mapping[str, Check]
) -> tuple[list[Finding], list[str]]:
    """Make the checks.

    Returns:
        The findings, and the names of checks that could not be made. What one check
        has failed of already is not told again by others.
    """
    findings: list[Finding] = []
    skipped: list[str] = []
    for name, check in checks.items():
        try:
            findings += check(patient)
        except (SkipError, StepSkippedError):
            skipped.append(name)
        except (Exception, SystemExit) as error:
            found = failure(name, error)
            if any(each.seen == found.seen for each in findings):
                skipped.append(name)
            else:
                findings.append(found)
    return findings, skipped
