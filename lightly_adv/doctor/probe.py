"""Measurements of a module, a batch and an attack, which leave no trace."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from lightly_adv.attacks import Attack, gradients
from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.callbacks.preflight import TwoEvaluations, evaluate_twice
from lightly_adv.doctor import targets
from lightly_adv.doctor.attack_choice import AttackChoice
from lightly_adv.doctor.isolated_training import isolated_training
from lightly_adv.doctor.random_images import RandomImages
from lightly_adv.doctor.targets import Target, TargetError
from lightly_adv.errors import UnreachedError
from lightly_adv.evaluation.checks.check import SkipError
from lightly_adv.isolation import leaks
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import places
from lightly_adv.training.batch_attack import BatchAttack, explained
from lightly_adv.training.per_view import attack_per_view
from lightly_adv.training.step_objective import Selection, StepObjective, loss_of
from lightly_adv.training.views import Step

T = TypeVar("T")

ATTACK_SECONDS = 15.0
"""How long the attack may take; one that would take longer is examined shortened."""


@dataclass(frozen=True)
class StepRun:
    """What one training step did.

    Args:
        loss: Its loss.
        trains: Whether the loss depends on a parameter that is trained.
        changes: Names of what it changed in the module and in the random streams.
        targets: Classes that a cross-entropy was given.
    """

    loss: float
    trains: bool
    changes: list[str]
    targets: list[Target]


@dataclass(frozen=True)
class Attacked:
    """What the attack did.

    Args:
        attack: The attack, shortened if the given one takes too long.
        views: The perturbed views.
        seconds: How long the given attack takes.
    """

    attack: Attack
    views: list[Tensor]
    seconds: float


@dataclass(frozen=True, eq=False)
class Probe:
    """A module with its first batch, inside a training step that is never finished.

    Nothing of it changes: `dataclasses.replace` returns another one. What costs an
    evaluation is measured when it is first asked for, and kept.

    Args:
        module: The LightningModule.
        choice: The attack, and what training does with it.
        batch: The first batch; None if there is none.
        step: The training step of a batch; None if training does not start.
        options: Options of the Trainer.
        precision: What the Trainer computes with.
        random_images: What makes the images, where they are random.
        structure: The structure of a random batch.
        data_classes: How many classes the data have, if known.
        steps_per_epoch: How many batches an epoch has, if known.
        full_size: Images in the batch before some were left out, if some were.
    """

    module: Any
    choice: AttackChoice
    batch: Any = None
    step: Step | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "32-true"
    random_images: RandomImages | None = None
    structure: str = ""
    data_classes: int | None = None
    steps_per_epoch: float | None = None
    full_size: int | None = None

    @property
    def training(self) -> AdversarialTraining:
        """Attack, mode, view policy and the like."""
        return self.choice.training

    @property
    def attack(self) -> Attack:
        """The attack, as it is at the end of training."""
        return self.training.attack.at(1.0)

    @property
    def threat_model(self) -> ThreatModel:
        """What the attack may do."""
        return self.training.attack.threat_model

    @functools.cached_property
    def selected(self) -> Selection:
        """The views under attack, as the callback selects them.

        Raises:
            SkipError: If there is no batch, or if submodules make the views and
                training does not start.
            TypeError: If the batch holds no image in a floating dtype.
            ValueError: If it holds no image, or not those asked for.
        """
        if self.batch is None:
            raise SkipError
        batches = BatchAttack(self.training.views, self.threat_model.normalize)
        return batches.select(
            self.batch,
            step=self._step_to_targets,
            module=self.module,
            isolation=Isolation(self.module),
        )

    def _step_to_targets(self, batch: Any) -> Any:
        """Take the step, and end it at labels that do not fit: the views are made."""
        try:
            with targets.watched(batch):
                return self.training_step(batch)
        except TargetError:
            return None  # `outcome` reports it

    @property
    def attacked_numbers(self) -> list[int]:
        """The numbers of the attacked views among all image views."""
        numbers = {id(view): at for at, view in enumerate(self.selected.images)}
        return [numbers[id(view)] for view in self.selected.views]

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.selected.views[0].device

    @functools.cached_property
    def objective(self) -> StepObjective:
        """The loss of the training step as the attack sees it.

        Raises:
            SkipError: If labels do not fit, or training does not start.
        """
        _ = self.run
        return StepObjective(
            step=self.training_step,
            module=self.module,
            isolation=Isolation(self.module),
            selected=self.selected,
            bn_mode=self.training.bn_mode,
        )

    @property
    def training_step(self) -> Step:
        """The training step, or `SkipError` if training does not start."""
        if self.step is None:
            raise SkipError
        return self.step

    @property
    def run(self) -> StepRun:
        """The training step on the clean batch, taken once and taken back.

        Raises:
            SkipError: If labels do not fit.
        """
        if isinstance(self.outcome, TargetError):
            raise SkipError from self.outcome
        return self.outcome

    @functools.cached_property
    def outcome(self) -> StepRun | TargetError:
        """The training step, or the labels that do not fit.

        With those it is not taken again, for on a GPU that would end the process.
        """
        _ = self.selected  # what is wrong with the views comes first
        step, batch = self.training_step, places.mapped(torch.clone, self.batch)
        with isolated_training(self.module):
            before = leaks.snapshot(self.module)
            try:
                with targets.watched(batch) as observed:
                    loss = loss_of(step(batch))
            except TargetError as error:
                return error
            changes = before.changes(leaks.snapshot(self.module))
        return StepRun(float(loss.detach()), loss.requires_grad, changes, observed)

    @functools.cached_property
    def twice(self) -> TwoEvaluations:
        """The loss on the clean views as the attack sees it, computed twice."""
        return evaluate_twice(self.module, self.objective)

    @functools.cached_property
    def grads(self) -> list[Tensor | None]:
        """The gradient of that loss for every view; None where none arrives."""
        return self._timed_grads[0]

    @functools.cached_property
    def attacked(self) -> Attacked:
        """The views under the attack.

        Raises:
            SkipError: If the images are not what the threat model says.
        """
        try:
            for view in self.selected.views:
                self.threat_model.box(view)
        except (TypeError, ValueError) as error:
            raise SkipError from error
        attack = self.attack
        runs = len(self.selected.views) if self.training.independent else 1
        share = self._timed_grads[1] * runs * attack.evaluations / ATTACK_SECONDS
        if share > 1:
            attack = _shortened(attack, steps=max(1, int(attack.steps / share)))
        found, seconds = _timed(
            self.device, lambda: self.run_attack(attack, self.objective)
        )
        scale = self.attack.evaluations / attack.evaluations
        return Attacked(attack, found, seconds * scale)

    def seconds_of(self, batch: Any) -> float:
        """Return how long a training step takes, forward and backward, unattacked."""

        def train() -> None:
            with isolated_training(self.module), targets.watched(batch):
                loss = loss_of(self.training_step(batch))
                trained = [p for p in self.module.parameters() if p.requires_grad]
                if loss.requires_grad and trained:
                    torch.autograd.grad(loss, trained, allow_unused=True)

        return _timed(self.device, train)[1]

    @functools.cached_property
    def _timed_grads(self) -> tuple[list[Tensor | None], float]:
        return _timed(self.device, self.differentiate)

    def differentiate(self) -> list[Tensor | None]:
        """Differentiate the loss with respect to the clean views, as attacks do.

        Raises:
            SkipError: If the loss is not finite to begin with.
            UnreachedError: If no view matters to the loss.
            ValueError: If the gradient is NaN.
        """
        if not math.isfinite(self.run.loss):
            raise SkipError
        leaves = [view.detach().clone() for view in self.selected.views]
        try:
            return gradients.gradients(self.objective, leaves, [True] * len(leaves))
        except UnreachedError as error:
            raise explained(error, self.objective, leaves) from None

    def run_attack(self, attack: Attack, objective: StepObjective) -> list[Tensor]:
        """Return the views that an attack makes of the clean ones."""
        run = attack_per_view if self.training.independent else type(attack).__call__
        generator = Generator().manual_seed(0)
        return run(attack, objective, self.selected.views, generator=generator)


def _shortened(attack: Attack, *, steps: int) -> Attack:
    """Return the attack with fewer steps, if it is one that has them."""
    try:
        return dataclasses.replace(attack, steps=steps, restarts=1)
    except (TypeError, ValueError):
        return attack


def _timed(device: torch.device, run: Callable[[], T]) -> tuple[T, float]:
    """Return what a function returns, and its seconds on the device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda _: None
    wait(device)
    start = time.perf_counter()
    result = run()
    wait(device)
    return result, time.perf_counter() - start
