"""Pre-training on several pretext tasks at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.functional.schedules import Scheduled
from lightly_adv.methods.pretraining import Pretraining
from lightly_adv.pretext import PretextTask, second_derivatives
from lightly_adv.pretext.ensemble import Frame, PretextEnsemble, check_frame
from lightly_adv.training.backends import AttackBackend
from lightly_adv.training.optimizers import OneCycleSGD
from lightly_adv.types import Views

TASKS = ("rotation", "jigsaw", "selfie")
"""The tasks of the paper."""


class PretextEnsembleModule(Pretraining):
    """Train one trunk on several pretext tasks, also about perturbed images.

    The loss is `(1 - weight) * clean + weight * adversarial`, each the mean over the
    tasks, plus `diversity_weight * h`. h, see `functional.gradient_diversity`, grows
    as the input gradients of the tasks at the perturbed inputs (the clean ones without
    an attack) grow more different. All tasks are attacked together, through the sum of
    their losses plus `attack_diversity_weight * h`; each has a perturbation of its own.

    With both weights alike, attack and training pull on one objective from both sides.
    A positive weight, the 0.1 of the paper's code, makes the network align the
    gradients against an attack that makes them diverse. A negative one does the
    opposite, which is what the word diversity suggests.

    Batches are (images, ...) with pixels in [0, 1]. Logged are, in percent,
    `train_top1/<task>`, `train_robust_top1/<task>`, `val_top1/<task>`,
    `val_robust_top1/<task>` and the means of the latter two over the tasks, `val_top1`
    and `val_robust_top1`; further `train_loss`, `val_loss`, and, with a diversity
    weight, `train_gradient_diversity`. Validation asks the same questions and starts
    its attack, which knows no h, from the same noise after every epoch.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        tasks: Names of pretext tasks, or a mapping from names to classes of tasks.
        backbone: The name of a backbone that timm knows, or a module.
        task_options: By name of the task, arguments for it besides the backbone.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule` that grows it. None is standard pre-training.
        weight: Weight of the adversarial losses, in [0, 1], or a function of progress
            such as `Ramp`.
        diversity_weight: Weight of h in the loss; 0 computes no h.
        attack_diversity_weight: Weight of h in what the attack raises. Defaults to
            `diversity_weight`; 0 saves the second derivatives in the attack.
        frame: Compare the gradients as they are ("inputs"), or put back to where their
            pixels are in the images ("images").
        val_attack: The attack of validation. Defaults to `attack` as it is at the end
            of training.
        lr: Highest learning rate of the one cycle.
        weight_decay: Weight decay of all parameters.
        warmup: Share of training over which the learning rate rises.
        channels_last: Keep network and images in the channels-last format, which is
            faster for small networks on a CPU.
        attack_backend: How the attack is run, see `AdversarialModule`.

    Raises:
        TypeError: If an attack is not one.
        ValueError: If a number is out of range or a name unknown; in training, if h is
            asked for and the network is compiled, which leaves no second derivative,
            or if the inputs of the tasks differ in shape.

    Examples:
        >>> module = PretextEnsembleModule(backbone="resnet8_tiny")
        >>> module.ensemble.names
        ['rotation', 'jigsaw', 'selfie']
    """

    def __init__(
        self,
        tasks: Sequence[str] | Mapping[str, Callable[..., PretextTask]] = TASKS,
        *,
        backbone: str | nn.Module = "resnet18_small",
        task_options: Mapping[str, Mapping[str, Any]] | None = None,
        attack: AttackLike | None = None,
        weight: Scheduled = 0.5,
        diversity_weight: float = 0.0,
        attack_diversity_weight: float | None = None,
        frame: Frame = "inputs",
        val_attack: AttackLike | None = None,
        lr: float = 0.1,
        weight_decay: float = 5e-4,
        warmup: float = 0.2,
        channels_last: bool = False,
        attack_backend: AttackBackend = "auto",
    ) -> None:
        check_frame(frame)
        _check_weights(diversity_weight, attack_diversity_weight)
        network = PretextEnsemble(tasks, backbone, task_options=task_options)
        super().__init__(
            network,
            attack=attack,
            weight=weight,
            val_attack=val_attack,
            optimizer=OneCycleSGD(lr, weight_decay, warmup),
            channels_last=channels_last,
            attack_backend=attack_backend,
        )
        self.ensemble = network
        self.diversity_weight = diversity_weight
        self.attack_diversity_weight = (
            diversity_weight
            if attack_diversity_weight is None
            else attack_diversity_weight
        )
        self.frame = frame
        objects = [] if isinstance(backbone, str) else ["backbone"]
        objects += ["tasks"] if isinstance(tasks, Mapping) else []
        self.save_hyperparameters(ignore=["attack", "val_attack", *objects])

    @property
    def tasks(self) -> Mapping[str, PretextTask]:
        """The tasks by name."""
        return dict(self.ensemble.tasks.items())  # type: ignore[arg-type]

    def on_fit_start(self) -> None:
        """Refuse a compiled network, if gradient diversity is asked for."""
        if self._differentiates_twice:
            second_derivatives.check_twice_differentiable(self)

    def _losses(
        self, inputs: list[Tensor], targets: list[Tensor], top1: str, route: str
    ) -> list[Tensor]:
        with self._attention_kernels():
            return super()._losses(inputs, targets, top1, route)

    def _leaves(self, inputs: list[Tensor]) -> list[Tensor]:
        if not self.diversity_weight:
            return inputs
        return [tensor.detach().requires_grad_() for tensor in inputs]

    def _penalties(
        self, losses: list[Tensor], inputs: list[Tensor], targets: list[Tensor]
    ) -> list[Tensor]:
        if not self.diversity_weight:
            return []
        diversity = self._diversity(losses, inputs, targets)
        batch_size = len(targets[0])
        self.log("train_gradient_diversity", diversity, batch_size=batch_size)
        return [self.diversity_weight * diversity]

    def _objective(self, targets: list[Tensor]) -> Callable[[Views], Tensor]:
        """Return the sum of the losses; in training plus the weighted diversity."""
        weight = self.attack_diversity_weight
        if not (weight and self.training):
            return super()._objective(targets)

        def objective(views: Views) -> Tensor:
            # Between restarts attacks ask for the value alone, without gradients.
            with torch.enable_grad(), self._attention_kernels():
                leaves = [
                    view if view.requires_grad else view.detach().requires_grad_()
                    for view in views
                ]
                losses = self.ensemble.losses(leaves, targets)
                diversity = self._diversity(losses, leaves, targets)
                return torch.stack(losses).sum() + weight * diversity

        return objective

    def _diversity(
        self, losses: list[Tensor], inputs: Views, targets: list[Tensor]
    ) -> Tensor:
        return self.ensemble.diversity(losses, inputs, targets, frame=self.frame)

    @property
    def _differentiates_twice(self) -> bool:
        attacked = self.attack_diversity_weight if self.weight != 0 else 0.0
        return bool(self.diversity_weight or attacked)

    def _attention_kernels(self) -> AbstractContextManager[None]:
        if self._differentiates_twice:
            return second_derivatives.attention_kernels()
        return nullcontext()


def _check_weights(*weights: float | None) -> None:
    for weight in weights:
        if weight is not None and not math.isfinite(weight):
            raise ValueError(
                f"a diversity weight is {weight}; expected a finite number. Above 0 "
                "training aligns the gradients, below 0 it makes them differ."
            )
