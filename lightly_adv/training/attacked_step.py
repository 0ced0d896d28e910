"""A training step on perturbed views, whether a callback or a loss asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, get_args

from torch import Generator, Tensor, nn

from lightly_adv import processes
from lightly_adv.attacks import Attack, AttackLike
from lightly_adv.attacks.attack_like import check_attack
from lightly_adv.errors import UnfitBatchError
from lightly_adv.functional.validation import check_choice
from lightly_adv.isolation import rng
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.training import noise, outputs, streams
from lightly_adv.training.arguments import check_weight
from lightly_adv.training.batch_attack import BatchAttack
from lightly_adv.training.clean_batches import CleanBatches
from lightly_adv.training.step_objective import StepObjective, StepSkippedError
from lightly_adv.training.view_policy import ViewPolicy, check_policy
from lightly_adv.training.views import Step

Mode: TypeAlias = Literal["replace", "dual"]
RandomNumbers: TypeAlias = Literal["same", "resample"]
Look: TypeAlias = Callable[[StepObjective, Generator], StepObjective]
"""Looks at the loss before it is attacked; returns what to attack instead."""


class Options(Protocol):
    """What `AdversarialTraining` and `AdversarialLoss` are told; see there."""

    attack: AttackLike
    mode: Mode
    weight: float
    views: ViewPolicy
    independent: bool
    bn_mode: BatchNormMode
    rng: RandomNumbers


class AttackedStep:
    """Runs a training step on perturbed views, for one batch after the other.

    Args:
        options: The callback or loss that asks for it.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If a weight or a choice is out of range.
    """

    def __init__(self, options: Options) -> None:
        check_attack(options.attack)
        check_choice("mode", options.mode, get_args(Mode))
        check_choice("bn_mode", options.bn_mode, get_args(BatchNormMode))
        check_choice("rng", options.rng, get_args(RandomNumbers))
        check_weight(options.weight)
        if outputs.names_of(options.views) is None:
            check_policy(options.views)
        self.batches = BatchAttack(options.views, options.attack.threat_model.normalize)
        self.clean = CleanBatches()
        self._options = options

    def __call__(
        self,
        step: Step,
        batch: Any,
        *,
        attack: Attack,
        module: nn.Module,
        isolation: Isolation,
        generator: Callable[[list[Tensor]], Generator],
        batch_idx: int,
        look: Look | None = None,
    ) -> Any:
        """Attack the views of a batch and run the step on them, or on both.

        A batch that cannot be attacked is trained on as it is, see `CleanBatches`.

        Args:
            step: From the batch to what the training step returns.
            batch: What the data loader yields.
            attack: The attack, as it is by now.
            module: The module that the step works on.
            isolation: Isolates that module.
            generator: Makes the source of noise for views.
            batch_idx: Number of the batch.
            look: Called with the loss before it is attacked.

        Returns:
            What the step returns, with the loss that is trained on.
        """
        objective = None
        try:
            selected = self.batches.select(
                batch, step=step, module=module, isolation=isolation
            )
            source = generator(selected.views)
            objective = StepObjective(
                step=step,
                module=module,
                isolation=isolation,
                selected=selected,
                bn_mode=self._options.bn_mode,
                seeds=None if self._options.rng == "same" else noise.seeds(source),
            )
            if look is not None:
                state = source.get_state()
                objective = look(objective, source)
                # A resumed run looks at another batch, and meets the same noise in it.
                source.set_state(state)
            if source.device.type == "cpu":
                source = rng.near(source, selected.views[0].device)
            perturbed = self.batches.perturb(
                attack,
                objective,
                generator=source,
                independent=self._options.independent,
            )
        except StepSkippedError:
            return step(batch)
        except UnfitBatchError as error:
            self.clean.left(error, batch_idx=batch_idx)
            alone = processes.count() == 1 or self._options.mode == "replace"
            if objective is None or alone:
                return step(batch)
            # Other processes wait in the second stream.
            perturbed = objective.selected.views
        else:
            self.clean.attacked()
        selected = objective.selected
        if self._options.mode == "replace":
            return streams.replaced(step, module, selected=selected, views=perturbed)
        return streams.dual(
            step,
            module,
            batch=batch,
            selected=selected,
            views=perturbed,
            weight=self._options.weight,
            isolation=isolation,
        )
