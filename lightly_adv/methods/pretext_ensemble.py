"""Pre-training on several pretext tasks at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.batch_norm import routes
from lightly_adv.functional.schedules import Scheduled
from lightly_adv.methods.pretraining import Pretraining, images_of
from lightly_adv.pretext import PretextTask, second_derivatives
from lightly_adv.pretext.ensemble import Frame, PretextEnsemble, check_frame
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
        options: By name of the task, arguments for it besides the backbone.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule` that grows it. None stands for standard pre-training.
        weight: Weight of the adversarial losses, in [0, 1], or a function of progress
            such as `Ramp`.
        diversity_weight: Weight of h in the loss; 0 computes no h.
        attack_diversity_weight: Weight of h in what the attack raises; None stands for
            `diversity_weight`. 0 spares the attack the second derivatives.
        frame: Compare the gradients as they are ("inputs"), or put back to where their
            pixels are in the images ("images").
        val_attack: The attack of validation; None stands for `attack` as it is at the
            end of training.
        lr: Highest learning rate of the one cycle.
        weight_decay: Weight decay of all parameters.
        warmup: Share of training over which the learning rate rises.
        channels_last: Keep network and images in the channels-last format, which is
            faster for small networks on a CPU.

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
        options: Mapping[str, Mapping[str, Any]] | None = None,
        attack: Attack | AttackSchedule | None = None,
        weight: Scheduled = 0.5,
        diversity_weight: float = 0.0,
        attack_diversity_weight: float | None = None,
        frame: Frame = "inputs",
        val_attack: Attack | None = None,
        lr: float = 0.1,
        weight_decay: float = 5e-4,
        warmup: float = 0.2,
        channels_last: bool = False,
    ) -> None:
        check_frame(frame)
        _check_weights(diversity_weight, attack_diversity_weight)
        network = PretextEnsemble(tasks, backbone, options=options)
        super().__init__(
            network,
            attack=attack,
            weight=weight,
            val_attack=val_attack,
            optimizer=OneCycleSGD(lr, weight_decay, warmup),
            channels_last=channels_last,
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
    def backbone(self) -> nn.Module:
        """The network that is kept: the trunk with the last stage of the first task."""
        return self.ensemble.backbone

    @property
    def normalize(self) -> nn.Module:
        """What stands in front of the backbone."""
        return self.ensemble.normalize

    @property
    def tasks(self) -> dict[str, nn.Module]:
        """The tasks by name."""
        return dict(self.ensemble.tasks.items())

    def on_fit_start(self) -> None:
        """Refuse a compiled network, if gradient diversity is asked for."""
        if self._differentiates_twice:
            second_derivatives.check_twice_differentiable(self)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the weighted loss of one batch."""
        inputs, targets = self._draw(batch)
        weight = self._current_weight
        terms = []
        if weight < 1:
            if weight == 0:
                inputs = self._differentiable(inputs)
            losses = self._losses(inputs, targets, "train_top1", routes.CLEAN)
            terms.append((1 - weight) * torch.stack(losses).mean())
        if weight > 0:
            inputs = self._differentiable(
                self._perturbed(
                    inputs,
                    targets,
                    self.attack,
                    diversity_weight=self.attack_diversity_weight,
                )
            )
            losses = self._losses(inputs, targets, "train_robust_top1", routes.ADV)
            terms.append(weight * torch.stack(losses).mean())
        batch_size = len(targets[0])
        if self.diversity_weight:
            diversity = self._diversity(losses, inputs, targets)
            terms.append(self.diversity_weight * diversity)
            self.log("train_gradient_diversity", diversity, batch_size=batch_size)
        loss = torch.stack(terms).sum()
        self.log("train_loss", loss, prog_bar=True, batch_size=batch_size)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the loss and the accuracies, without and with the attack."""
        # The attack differentiates, which tensors made in inference mode do not allow.
        with torch.inference_mode(False), torch.no_grad():
            inputs, targets = self._draw(batch)
            losses = self._losses(inputs, targets, "val_top1", routes.CLEAN)
            loss, batch_size = torch.stack(losses).mean(), len(targets[0])
            self.log("val_loss", loss, batch_size=batch_size, sync_dist=True)
            if self.val_attack is not None:
                perturbed = self._perturbed(
                    inputs, targets, self.val_attack, diversity_weight=0.0
                )
                self._losses(perturbed, targets, "val_robust_top1", routes.ADV)

    def _draw(self, batch: Any) -> tuple[list[Tensor], list[Tensor]]:
        inputs, targets = self.ensemble.draw(images_of(batch), self.generator)
        return [self._formatted(each) for each in inputs], targets

    def _losses(
        self, inputs: list[Tensor], targets: list[Tensor], top1: str, route: str
    ) -> list[Tensor]:
        """Return the losses on a BatchNorm route; log accuracies, and their mean."""
        with routes.bn_route(route), self._attention_kernels():
            logits = self.ensemble.logits(inputs, targets)
        batch_size = len(targets[0])
        accuracies = self.ensemble.accuracies(logits, targets)
        for name, accuracy in zip(self.ensemble.names, accuracies, strict=True):
            self._log_top1(f"{top1}/{name}", accuracy, batch_size=batch_size)
        if not self.training:
            mean = torch.stack(accuracies).mean()
            self._log_top1(top1, mean, batch_size=batch_size)
        return self.ensemble.criteria(logits, targets)

    def _perturbed(
        self,
        inputs: list[Tensor],
        targets: list[Tensor],
        attack: Attack | AttackSchedule | None,
        *,
        diversity_weight: float,
    ) -> list[Tensor]:
        def objective(*views: Tensor) -> Tensor:
            if not diversity_weight:
                return torch.stack(self.ensemble.losses(views, targets)).sum()
            # Between restarts attacks ask for the value alone, without gradients.
            with torch.enable_grad(), self._attention_kernels():
                leaves = [
                    each if each.requires_grad else each.detach().requires_grad_()
                    for each in views
                ]
                losses = self.ensemble.losses(leaves, targets)
                diversity = self._diversity(losses, leaves, targets)
                return torch.stack(losses).sum() + diversity_weight * diversity

        perturbed: list[Tensor] = self.perturb(objective, *inputs, attack=attack)
        return perturbed

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

    def _differentiable(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return inputs that gradients are taken at, if diversity asks for them."""
        if not self.diversity_weight:
            return inputs
        return [each.detach().requires_grad_() for each in inputs]


def _check_weights(*weights: float | None) -> None:
    for weight in weights:
        if weight is not None and not math.isfinite(weight):
            raise ValueError(
                f"a diversity weight is {weight}; expected a finite number. Above 0 "
                "training aligns the gradients, below 0 it makes them differ."
            )
