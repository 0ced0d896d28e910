"""The attack on one batch after the other, which no batch may end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Generator, Tensor, nn

from lightly_adv import processes
from lightly_adv.attacks import Attack, gradients, notices
from lightly_adv.errors import NotFiniteError, UnreachedError
from lightly_adv.functional import precision
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import outputs
from lightly_adv.training.dead_ends import dead_end
from lightly_adv.training.finite import attack_to_the_end
from lightly_adv.training.per_view import attack_per_view
from lightly_adv.training.places import Path, Stack
from lightly_adv.training.step_objective import Selection, StepObjective
from lightly_adv.training.view_policy import ViewPolicy
from lightly_adv.training.views import Step, select_views
from lightly_adv.types import NormalizeStats, Objective


class BatchAttack:
    """What an attack has learnt of the batches so far, and says only once.

    Args:
        policy: Which views to perturb, see `AdversarialTraining`.
        normalize: Mean and std with which the views were normalised, if they were.
    """

    def __init__(self, policy: ViewPolicy, normalize: NormalizeStats | None) -> None:
        self._policy = policy
        self._normalize = normalize
        self._known: dict[Path, str] = {}
        self._said: set[str] = set()
        self._unreached: dict[Path, set[int]] = {}

    def select(
        self, batch: Any, *, step: Step, module: nn.Module, isolation: Isolation
    ) -> Selection:
        """Select the views of a batch.

        Args:
            batch: What the data loader yields.
            step: The training step.
            module: The module that it works on.
            isolation: Isolates that module.

        Raises:
            ValueError: If the batch has no such views.
        """
        names = outputs.names_of(self._policy)
        if names is None:
            return select_views(
                batch,
                policy=self._policy,
                normalize=self._normalize,
                known=self._known,
            ).without(self._unreached)
        return outputs.submodule_views(
            batch,
            names,
            step=step,
            module=module,
            # As the real step will be, with its random numbers and its modes.
            isolated=isolation.evaluation(),
            normalize=self._normalize,
            known=self._known,
        ).without(self._unreached)

    def reach(
        self, attack: Attack, objective: StepObjective, *, generator: Generator
    ) -> tuple[StepObjective, list[bool] | None]:
        """Find out which views receive a gradient, in one evaluation.

        Views that are stacked with others and receive none are left out from now on.

        Args:
            attack: The attack to come.
            objective: The loss as a function of the views.
            generator: Source of noise.

        Returns:
            The objective, and which of its views receive a gradient; None where it was
            not finite in one of the processes.

        Raises:
            UnreachedError: If no view does, with the submodule where it ends.
            NotFiniteError: If stacked views cannot be told apart, for the gradient is
                not finite.
        """
        views = objective.selected.views
        stacks = objective.selected.stacks()
        if stacks:
            # At the views themselves, the gradient of some losses is zero.
            views = [_noisy(attack.threat_model, view, generator) for view in views]
        try:
            loss, grads = gradients.differentiate(objective, views)
        except UnreachedError as error:
            # Looking for it evaluates once more, which others would not wait for.
            alone = processes.count() == 1
            raise (explained(error, objective, views) if alone else error) from None
        reached = [grad is not None for grad in grads]
        if not stacks:
            return objective, reached
        failure = _failure(loss, grads, views)
        still = _still(grads, stacks)
        flags = processes.all_of(
            [failure is None, *(flag for *_, flag in still)], device=views[0].device
        )
        if failure is not None:
            raise failure
        if not flags[0]:
            return objective, None
        for (path, part, _), flag in zip(still, flags[1:], strict=True):
            if flag:
                self._unreached.setdefault(path, set()).add(part)
        selected = objective.selected.without(self._unreached)
        return dataclasses.replace(objective, selected=selected), reached

    def perturb(
        self,
        attack: Attack,
        objective: StepObjective,
        *,
        generator: Generator | None,
        independent: bool = False,
    ) -> list[Tensor]:
        """Perturb the selected views.

        Processes that train together evaluate as often as each other, also where the
        batch of one of them cannot be attacked.

        Raises:
            UnfitBatchError: If this batch cannot be attacked.
        """

        def run(function: Objective, views: Sequence[Tensor]) -> list[Tensor]:
            if independent:
                return attack_per_view(attack, function, views, generator=generator)
            return attack(function, views, generator=generator)

        with notices.once(self._said):
            return attack_to_the_end(
                run,
                objective,
                objective.selected.views,
                threat_model=attack.threat_model,
            )


def explained(
    error: UnreachedError, objective: StepObjective, views: Sequence[Tensor]
) -> UnreachedError:
    """Return the error with the submodule where the gradient ends, if one is found.

    Evaluates the objective once more.
    """
    name = dead_end(objective, views, objective.module)
    return _ends_in(name, objective.module) if name else error


def _still(
    grads: Sequence[Tensor | None], stacks: Mapping[int, Stack]
) -> list[tuple[Path, int, bool]]:
    """Tell of every view of a stack whether its gradient is zero, if not all are."""
    found = []
    for at, (path, parts) in stacks.items():
        grad = grads[at]
        if grad is not None:
            each = grad.reshape(-1, len(parts), *grad.shape[1:])
            each = each.transpose(0, 1).flatten(1)
            zero = (each == 0).all(dim=1).tolist()
            found += [
                (path, part, flag and not all(zero))
                for part, flag in zip(parts, zero, strict=True)
            ]
    return found


def _failure(
    loss: Tensor, grads: Sequence[Tensor | None], views: Sequence[Tensor]
) -> NotFiniteError | None:
    if not loss.isfinite().all():
        return NotFiniteError(gradients.INFINITE_OBJECTIVE)
    for view, grad in zip(views, grads, strict=True):
        # In fp16 single entries overflow; the attack does without them.
        if grad is not None and not precision.is_fp16(view) and grad.isnan().any():
            return NotFiniteError(gradients.NAN_GRADIENT)
    return None


def _noisy(threat_model: ThreatModel, view: Tensor, generator: Generator) -> Tensor:
    view = view.detach()
    box = threat_model.unchecked_box(view)
    noise = threat_model.random_start(box, generator=generator)
    return threat_model.apply(view, noise, box)


def _ends_in(name: str, module: nn.Module) -> UnreachedError:
    kind = type(module.get_submodule(name)).__name__
    return UnreachedError(
        f"the loss does not depend on any of the views: no gradient reaches them, for "
        f"it ends in the submodule {name!r} ({kind}), which runs under "
        "torch.no_grad() or detaches what it returns. If it is an augmentation, its "
        f"output can be attacked: AdversarialTraining(attack, views={name!r}); or "
        "augment before the training step, in on_after_batch_transfer or in the data "
        "loader. If it is a backbone, as in Lightly's LinearClassifier, let the "
        "gradient through."
    )
