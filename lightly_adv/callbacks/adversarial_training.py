"""Train any LightningModule against adversarial views."""

from __future__ import annotations

import functools
import itertools
from typing import Any, Literal

from torch import Generator, Tensor

from lightly_adv.attacks import Attack, AttackLike
from lightly_adv.batch_norm import routes
from lightly_adv.callbacks.preflight import (
    check_attacked_once,
    check_initialized,
    check_ranks_agree,
    check_trainable,
    verify_first_batch,
)
from lightly_adv.callbacks.wrapped_step import WrappedStep
from lightly_adv.functional.validation import check_choice
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.lightning import Callback, pl, rank_zero_info, rank_zero_warn
from lightly_adv.training import noise, outputs
from lightly_adv.training.attacked_step import AttackedStep, Mode, RandomNumbers
from lightly_adv.training.cost import StepCost
from lightly_adv.training.progress import share_done
from lightly_adv.training.step_objective import Selection, StepObjective
from lightly_adv.training.view_policy import ViewPolicy
from lightly_adv.training.views import Step


class AdversarialTraining(Callback):
    """Perturb the views of every training batch so that the module's own loss rises.

    The module, its batches, loggers and checkpoints stay what they are: the callback
    wraps `training_step` while fitting, and each evaluation of the attack is isolated,
    so that moving averages, memory banks, statistics, logged metrics and random
    streams advance exactly as without it. Where BatchNorm layers have routes, see
    `convert_dual_batchnorm`, the attack and the perturbed views take "adv", and the
    clean views of "dual" mode take "clean".

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        attack: The attack, or an `AttackSchedule` that grows it.
        mode: "replace" trains on the perturbed views. "dual" trains on both, with the
            loss `(1 - weight) * clean + weight * adversarial`.
        weight: Weight of the adversarial loss in "dual" mode, in [0, 1].
        views: Which image views to perturb: all of them (None), indices such as
            [0], "global" for the largest ones of a multi-crop batch, or a function
            from the batch to tensors in it. For augmentations inside of the training
            step it is the name of the submodule that makes the views, or a list of
            names; what each of its calls puts out is a view. Views that receive no
            gradient stay clean.
        independent: Give each view an attack of its own, in which the others are
            clean, instead of one attack that moves all of them at once. It evaluates
            the loss as often for each view as one attack does for all.
        bn_mode: How the attack sees the module. "batch" switches dropout and its kin
            off, and lets BatchNorm layers in train mode use the statistics of the
            batch, as the loss that is trained on does; "eval" puts these in eval mode,
            too, where they use running statistics; "train" changes nothing. Running
            statistics move in none of them.
        rng: "same" replays in every evaluation the random numbers that the real step
            will draw, such as masks; "resample" draws new ones each time, which makes
            the attack one on the expected loss.
        verify: "first_batch" evaluates the loss of the first batch twice and warns
            when something leaked out of the isolation, or when the loss is not a
            function of the views. "off" does not. Either way that loss is
            differentiated once more to tell what a step costs.

    Raises:
        TypeError: When training starts with a trainer or module of `lightning.pytorch`.
        ValueError: If an argument is out of range; when training starts with a module
            or strategy that cannot be attacked.

    Examples:
        >>> from lightly_adv import PGD, AdversarialTraining, ThreatModel
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=5, step_size=2 / 255)
        >>> trainer = pl.Trainer(
        ...     callbacks=[AdversarialTraining(attack)],
        ...     logger=False, enable_checkpointing=False, accelerator="cpu",
        ... )
    """

    def __init__(
        self,
        attack: AttackLike,
        *,
        mode: Mode = "replace",
        weight: float = 0.5,
        views: ViewPolicy = None,
        independent: bool = False,
        bn_mode: BatchNormMode = "batch",
        rng: RandomNumbers = "same",
        verify: Literal["first_batch", "off"] = "first_batch",
    ) -> None:
        check_choice("verify", verify, ("first_batch", "off"))
        self.attack = attack
        self.mode: Mode = mode
        self.weight = weight
        self.views = views
        self.independent = independent
        self.bn_mode: BatchNormMode = bn_mode
        self.rng: RandomNumbers = rng
        self.verify = verify
        self._unverified = False
        self._unannounced = False
        self._wrapped: WrappedStep | None = None
        self._isolation: Isolation | None = None
        self._attacked = AttackedStep(self)
        self._batch_idx = 0

    def setup(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Wrap the training step of the module."""
        if stage != "fit":
            return
        check_trainable(trainer, pl_module)
        check_attacked_once(pl_module)
        _check_single(trainer)
        routes.check_routes(pl_module, routes.CLEAN, routes.ADV)
        if self.mode == "replace" and routes.routed_layers(pl_module):
            rank_zero_warn(_UNTRAINED_ROUTE)
        self._unwrap()
        outputs.check_names(pl_module, outputs.names_of(self.views) or ())
        self._attacked = AttackedStep(self)
        self._unverified = self.verify == "first_batch"
        self._unannounced = True
        self._isolation = Isolation(pl_module)
        around = functools.partial(self._training_step, pl_module)
        self._wrapped = WrappedStep(pl_module, around)

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Refuse what only shows by now, before the first step."""
        self._attack_now(trainer)
        check_initialized(pl_module)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Remember the index of the batch, which seeds the noise."""
        self._batch_idx = batch_idx

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell how many batches could not be attacked."""
        if self._attacked.clean.count:
            rank_zero_info(str(self._attacked.clean))

    def teardown(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Give the module its own training step back."""
        self._unwrap()

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        exception: BaseException,
    ) -> None:
        """Give the module its own training step back: teardown is not called."""
        self._unwrap()

    def _unwrap(self) -> None:
        if self._wrapped is not None:
            self._wrapped.unwrap()
        self._wrapped = self._isolation = None

    def _training_step(
        self, module: pl.LightningModule, original: Step, batch: Any
    ) -> Any:
        if not module.trainer.training:
            return original(batch)  # a validation step may call it

        def generator(views: list[Tensor]) -> Generator:
            return noise.training_generator(
                rank=module.global_rank,
                epoch=module.current_epoch,
                batch_idx=self._batch_idx,
            )

        looks = self._unverified or self._unannounced
        return self._attacked(
            original,
            batch,
            attack=self._attack_now(module.trainer),
            module=module,
            isolation=self._isolation or Isolation(module),
            generator=generator,
            batch_idx=self._batch_idx,
            look=functools.partial(self._look_once, module) if looks else None,
        )

    def _attack_now(self, trainer: Any) -> Attack:
        # Only what changes has to know how long training lasts.
        constant = isinstance(self.attack, Attack)
        return self.attack.at(1.0 if constant else share_done(trainer))

    def _look_once(
        self,
        module: pl.LightningModule,
        objective: StepObjective,
        generator: Generator,
    ) -> StepObjective:
        """Say what a step costs, and whether it is isolated, before the first one."""
        if self._unannounced:
            selected = objective.selected
            # Before anything is evaluated: a loss that gathers would wait forever.
            check_ranks_agree(module.trainer, self._cost(selected, selected.views))
            objective, flags = self._attacked.batches.reach(
                self.attack.at(1.0), objective, generator=generator
            )
            if flags is None:
                return objective
            reached = list(itertools.compress(objective.selected.views, flags))
            rank_zero_info(str(self._cost(objective.selected, reached)))
            rank_zero_info(f"adversarial training: {objective.selected}.")
            self._unannounced = False
        if self._unverified:
            verify_first_batch(module, objective, constant=self.rng == "same")
            self._unverified = False
        return objective

    def _cost(self, selected: Selection, reached: list[Tensor]) -> StepCost:
        return StepCost(
            selected.images,
            reached,
            evaluations=self.attack.evaluations,
            streams=2 if self.mode == "dual" else 1,
            independent=self.independent,
            unreached=len(selected.views) - len(reached),
            random_start=self.attack.at(1.0).random_start,
        )


_UNTRAINED_ROUTE = (
    'mode="replace" trains the BatchNorm route "adv" alone, while validation and all '
    'that calls the module outside of training takes "clean", which stays as it is. '
    'Validate inside of bn_route("adv") and give away export_route(module, "adv"), or '
    'train both routes with mode="dual".'
)


def _check_single(trainer: pl.Trainer) -> None:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    count = sum(isinstance(callback, AdversarialTraining) for callback in callbacks)
    if count > 1:
        raise ValueError(
            f"the Trainer has {count} AdversarialTraining callbacks, each of which "
            "would attack what the others have attacked; expected one."
        )
