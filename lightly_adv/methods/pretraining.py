"""What pre-training on one pretext task and on several have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.functional import schedules
from lightly_adv.functional.schedules import Scheduled
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.training.arguments import check_attack, check_weight
from lightly_adv.training.optimizers import OneCycleSGD


class Pretraining(AdversarialModule):
    """Attack, weights and optimizer of adversarial pre-training on pretext tasks.

    Args:
        network: What is trained.
        attack: The attack in pixels, a schedule of it, or None.
        weight: Weight of the adversarial loss, in [0, 1], or a function of progress.
        val_attack: The attack of validation. Defaults to `attack`.
        optimizer: The optimizer and its learning rate.
        channels_last: Keep network and images in the channels-last format.

    Raises:
        TypeError: If an attack is not one.
        ValueError: If the weight is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        attack: Attack | AttackSchedule | None,
        weight: Scheduled,
        val_attack: Attack | None,
        optimizer: OneCycleSGD,
        channels_last: bool,
    ) -> None:
        super().__init__(attack, optimizer=optimizer)
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
    def _current_weight(self) -> float:
        return schedules.value_at(self.weight, self.progress)

    def _formatted(self, inputs: Tensor) -> Tensor:
        if self.channels_last and inputs.dim() == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _log_top1(self, name: str, accuracy: Tensor, *, batch_size: int) -> None:
        self.log(
            name,
            accuracy,
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
    return images.clone() if images.is_inference() else images
