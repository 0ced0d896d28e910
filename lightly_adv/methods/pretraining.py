"""The training step of adversarial pre-training on pretext tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.attacks.attack_like import check_attack
from lightly_adv.batch_norm import routes
from lightly_adv.functional import precision, schedules
from lightly_adv.functional.schedules import Scheduled
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.pretext.task import PretextTask
from lightly_adv.training.arguments import check_weight
from lightly_adv.training.backends import AttackBackend
from lightly_adv.training.optimizers import OneCycleSGD
from lightly_adv.types import Views


class Pretraining(AdversarialModule):
    """Train on the mean loss of pretext tasks, of one or of several.

    A subclass says which with `tasks`. Inputs, targets and losses are lists with one
    tensor for each of them.

    Args:
        network: What is trained.
        attack: The attack in pixels, a schedule of it, or None.
        weight: Weight of the adversarial loss, in [0, 1], or a function of progress.
        val_attack: The attack of validation. Defaults to `attack`.
        optimizer: The optimizer and its learning rate.
        channels_last: Keep network and images in the channels-last format.
        attack_backend: How the attack is run, see `AdversarialModule`.

    Raises:
        TypeError: If an attack is not one.
        ValueError: If the weight is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        attack: AttackLike | None,
        weight: Scheduled,
        val_attack: AttackLike | None,
        optimizer: OneCycleSGD,
        channels_last: bool,
        attack_backend: AttackBackend,
    ) -> None:
        super().__init__(attack, optimizer=optimizer, attack_backend=attack_backend)
        if val_attack is not None:
            check_attack(val_attack)
        for progress in (0.0, 1.0):
            check_weight(schedules.value_at(weight, progress))
        self.weight = weight if attack is not None else 0.0
        self.val_attack = val_attack or attack
        self.channels_last = channels_last
        if channels_last:
            network.to(memory_format=torch.channels_last)

    @property
    def tasks(self) -> Mapping[str, PretextTask]:
        """The tasks by name."""
        raise NotImplementedError

    @property
    def backbone(self) -> nn.Module:
        """The network that is kept after training: that of the first task."""
        return next(iter(self.tasks.values())).backbone

    @property
    def normalize(self) -> nn.Module:
        """What stands in front of the backbone."""
        return next(iter(self.tasks.values())).normalize

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return `(1 - weight) * clean + weight * adversarial` for one batch."""
        inputs, targets = self._draw(batch)
        weight = schedules.value_at(self.weight, self.progress)
        terms = []
        if weight < 1:
            inputs = self._leaves(inputs)
            losses = self._losses(inputs, targets, "train_top1", routes.CLEAN)
            terms.append((1 - weight) * torch.stack(losses).mean())
        if weight > 0:
            inputs = self._leaves(self._perturbed(inputs, targets, self.attack))
            losses = self._losses(inputs, targets, "train_robust_top1", routes.ADV)
            terms.append(weight * torch.stack(losses).mean())
        terms += self._penalties(losses, inputs, targets)
        loss = torch.stack(terms).sum()
        self.log("train_loss", loss, prog_bar=True, batch_size=len(targets[0]))
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
                perturbed = self._perturbed(inputs, targets, self.val_attack)
                self._losses(perturbed, targets, "val_robust_top1", routes.ADV)

    def _draw(self, batch: Any) -> tuple[list[Tensor], list[Tensor]]:
        images = images_of(batch)
        drawn = [task.draw(images, self.generator) for task in self.tasks.values()]
        inputs, targets = zip(*drawn, strict=True)
        return [self._formatted(tensor) for tensor in inputs], list(targets)

    def _losses(
        self, inputs: list[Tensor], targets: list[Tensor], top1: str, route: str
    ) -> list[Tensor]:
        """Return the losses on a BatchNorm route, and log accuracies under a name."""
        batch = list(zip(self.tasks.values(), inputs, targets, strict=True))
        with routes.bn_route(route):
            logits = [task.logits(x, target) for task, x, target in batch]
        batch = list(zip(self.tasks.values(), logits, targets, strict=True))
        accuracies = [task.accuracy(x, target) for task, x, target in batch]
        self._log_top1(top1, accuracies, batch_size=len(targets[0]))
        return [task.criterion(x, target) for task, x, target in batch]

    def _perturbed(
        self,
        inputs: list[Tensor],
        targets: list[Tensor],
        attack: AttackLike | None,
    ) -> list[Tensor]:
        objective = self._objective(targets)
        perturbed = self.perturb(
            lambda *views: objective(views), *inputs, attack=attack
        )
        return [perturbed] if len(inputs) == 1 else perturbed

    def _objective(self, targets: list[Tensor]) -> Callable[[Views], Tensor]:
        """Return what the attack raises: the sum of the losses of the tasks."""

        def summed(views: Views) -> Tensor:
            asked = zip(self.tasks.values(), views, targets, strict=True)
            return torch.stack(
                [task.loss(x, target) for task, x, target in asked]
            ).sum()

        return summed

    def _leaves(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return the inputs such that `_penalties` can differentiate by them."""
        return inputs

    def _penalties(
        self, losses: list[Tensor], inputs: list[Tensor], targets: list[Tensor]
    ) -> list[Tensor]:
        """Return further terms of the loss, at the inputs that came last."""
        return []

    def _formatted(self, inputs: Tensor) -> Tensor:
        if self.channels_last and inputs.dim() == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _log_top1(
        self, name: str, accuracies: list[Tensor], *, batch_size: int
    ) -> None:
        """Log the accuracy of each of several tasks, and in validation their mean."""
        several = len(accuracies) > 1
        values = {}
        if several:
            names = [f"{name}/{task}" for task in self.tasks]
            values = dict(zip(names, accuracies, strict=True))
        if not (several and self.training):
            values[name] = torch.stack(accuracies).mean()
        self.log_dict(
            values,
            prog_bar=True,
            batch_size=batch_size,
            sync_dist=not self.training,
        )


def images_of(batch: Any) -> Tensor:
    """Return the images of a batch, as a tensor that autograd can work with.

    Raises:
        TypeError: If the batch does not begin with one tensor of images.
    """
    images = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise TypeError(
            f"the images of a batch are a {type(images).__name__}; expected one tensor "
            "(B, 3, H, W) with pixels in [0, 1], first in the batch. Use a "
            "transform that makes one view."
        )
    return precision.normal_tensor(images)
