"""What pre-training on one task and on several have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.isolation import rng
from lightly_adv.lightning import pl
from lightly_adv.training import noise, perturb
from lightly_adv.training.arguments import check_attack, check_weight
from lightly_adv.training.optimizers import OneCycleSGD
from lightly_adv.types import Objective, Views

VALIDATION_SEED = 0
"""Seed of questions and noise in validation, the same ones after every epoch."""


class Pretraining(pl.LightningModule):
    """Attack, weights and optimiser of adversarial pre-training on pretext tasks.

    Args:
        network: What is trained.
        attack: The attack in pixels, a schedule of it, or None.
        weight: Weight of the adversarial loss, in [0, 1].
        val_attack: The attack of validation; None stands for `attack`.
        optimizer: The optimiser and its learning rate.
        channels_last: Keep network and pictures in the channels-last format.

    Raises:
        TypeError: If an attack is not one.
        ValueError: If the weight is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        attack: Attack | AttackSchedule | None,
        weight: float,
        val_attack: Attack | None,
        optimizer: OneCycleSGD,
        channels_last: bool,
    ) -> None:
        super().__init__()
        for each in (attack, val_attack):
            if each is not None:
                check_attack(each)
        check_weight(weight)
        self.attack = attack
        self.weight = weight if attack is not None else 0.0
        self.val_attack = val_attack or attack
        self.optimizer = optimizer
        self.channels_last = channels_last
        if channels_last:
            network.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> Any:
        """SGD on one cycle of the learning rate."""
        return self.optimizer.configure(
            self.parameters(), total_steps=self.trainer.estimated_stepping_batches
        )

    def _training_generator(self, batch_idx: int) -> Generator:
        return noise.training_generator(
            rank=self.global_rank, epoch=self.current_epoch, batch_idx=batch_idx
        )

    def _validation_generator(self, batch_idx: int) -> Generator:
        return rng.batch_generator(VALIDATION_SEED, self.global_rank, batch_idx)

    def _formatted(self, inputs: Tensor) -> Tensor:
        if self.channels_last and inputs.dim() == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def _perturb(
        self,
        attack: Attack | AttackSchedule,
        objective: Objective,
        views: Views,
        *,
        network: nn.Module,
        generator: Generator,
    ) -> list[Tensor]:
        """Perturb views by an attack as it is at this point of training."""
        progress = 1.0
        if self.trainer.training:
            progress = (
                self.trainer.global_step / self.trainer.estimated_stepping_batches
            )
        return perturb.perturb_views(
            attack.at(progress), objective, views, module=network, generator=generator
        )

    def _log_top1(self, name: str, accuracy: Tensor, *, batch_size: int) -> None:
        self.log(
            name,
            accuracy,
            prog_bar=True,
            batch_size=batch_size,
            sync_dist=not self.training,
        )


def images_of(batch: Any) -> Tensor:
    """Return the pictures of a batch, as a tensor that autograd can work with.

    Raises:
        TypeError: If the batch does not begin with one tensor of pictures.
    """
    images = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise TypeError(
            f"the pictures of a batch are a {type(images).__name__}; expected one "
            "tensor (B, 3, H, W) with pixels in [0, 1], first in the batch. Use a "
            "transform that makes one view."
        )
    return images.clone() if images.is_inference() else images
