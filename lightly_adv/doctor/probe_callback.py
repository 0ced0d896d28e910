"""A callback that runs the checks in the first training step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.callbacks.wrapped_step import WrappedStep
from lightly_adv.doctor.attack_choice import choose_attack
from lightly_adv.doctor.failures import failure
from lightly_adv.doctor.first_batch import shrink_batch, structure_batch
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, CheckFunction, run_check
from lightly_adv.lightning import Callback, pl
from lightly_adv.training.step_objective import StepSkippedError
from lightly_adv.training.views import Step


class FinishedError(Exception):
    """The examination is over; training ends before the first step is taken."""


class ProbeCallback(Callback):
    """Runs checks in the first training step, instead of adversarial training.

    There the precision, the device, the hooks of the batch and what `self.trainer`
    returns are those of training. It ends by `FinishedError`, so that no step is taken.

    Args:
        probe: What is known before training starts.
        checks: The checks to make.
    """

    def __init__(self, probe: Probe, checks: Iterable[CheckFunction[Probe]]) -> None:
        self.probe = probe
        self.checks = checks
        self.results: list[Check] = []

    def setup(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Replace the callback that the module itself configures; wrap the step."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        others = [each for each in callbacks if isinstance(each, AdversarialTraining)]
        # In place: Lightning is iterating over this list, and has not reached them yet.
        callbacks[:] = [each for each in callbacks if each not in others]
        if others and self.probe.choice.guessed:
            choice = choose_attack(self.probe.module, others[0])
            self.probe = dataclasses.replace(self.probe, choice=choice)
            normalize_random_images(self.probe)
        # What it refuses is to be reported.
        self.probe.training.setup(trainer, pl_module, stage)
        self.probe.training.teardown(trainer, pl_module, stage)
        WrappedStep(pl_module, functools.partial(self.examine, pl_module))

    def examine(self, module: pl.LightningModule, step: Step, batch: Any) -> Any:
        """Make the checks with the first batch.

        Raises:
            FinishedError: Always.
        """
        probe = dataclasses.replace(
            self.probe,
            module=module,
            batch=batch,
            step=step,
            precision=str(module.trainer.precision),
            steps_per_epoch=float(module.trainer.num_training_batches),
        )
        self.probe = shrink_batch(with_fitting_attack(structure_batch(probe)))
        self.results = make_checks(self.probe, self.checks)
        raise FinishedError


def normalize_random_images(probe: Probe) -> None:
    """Normalise random images as the attack expects, if it is given."""
    if probe.random_images is not None and not probe.choice.guessed:
        probe.random_images.normalize = probe.threat_model.normalize


def with_fitting_attack(probe: Probe) -> Probe:
    """Return the probe with the attack that fits its images, if none was given."""
    return dataclasses.replace(probe, choice=probe.choice.fitting(probe.batch))


def make_checks(probe: Probe, checks: Iterable[CheckFunction[Probe]]) -> list[Check]:
    """Make the checks; what one has failed of already is a reason to skip others."""
    results: list[Check] = []
    for check in checks:
        for result in run_check(check, probe, on_error=_on_error):
            reported = any(each.message == result.message for each in results)
            if result.traceback and reported:
                result = Check(result.name, "SKIP", result.message)
            results.append(result)
    return results


def _on_error(name: str, error: BaseException) -> Check:
    if isinstance(error, StepSkippedError):
        return Check(name, "SKIP", str(error))
    return failure(name, error)
