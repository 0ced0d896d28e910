"""DynACL: augmentation that weakens, adversarial loss that grows."""

from __future__ import annotations

import copy
from typing import Any

from lightly.models.modules import SimCLRProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.batch_norm.routes import ADV, CLEAN, bn_route
from lightly_adv.functional.contrastive import nt_xent
from lightly_adv.functional.schedules import StrengthSchedule
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.methods import augmentation_strength
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.batch_views import views_of
from lightly_adv.methods.routed import with_routes
from lightly_adv.models import backbones
from lightly_adv.models.normalization import NormalizeChoice, create_normalize
from lightly_adv.training.optimizers import OptimizerFactory, WarmupCosineLARS


class DynACL(AdversarialModule):
    """Contrast clean and attacked pairs while augmentation weakens, as in [0].

    The strength of augmentation s falls from 1 in steps, see `StrengthSchedule`. The
    clean loss weighs `1 - weight * (1 - s)`, the adversarial one
    `1 + weight * (1 - s)`; the loss is half of their sum. The first view goes through
    the network that is trained, the second through its moving average, which is what
    is kept: `backbone`. Clean and attacked images have BatchNorm routes of their own;
    the encoder has that of attacked ones.

    Batches have two views, with pixels in [0, 1], from
    `ContrastiveViews(strength=StrengthSchedule(epochs, period))`. Logged are
    `train_loss`, `clean_loss`, `adversarial_loss` and `augmentation_strength`.

    - [0] Rethinking the Effect of Data Augmentation in Adversarial Contrastive
      Learning, 2023, https://arxiv.org/abs/2303.01289

    Args:
        backbone: A name that timm knows, or a module, with BatchNorm layers.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule`. The paper's is PGD with 5 steps of 2/255 in 8/255.
        temperature: Temperature of the losses.
        weight: How much the adversarial loss gains as augmentation weakens.
        period: Epochs after which augmentation weakens by a step.
        momentum: Momentum of the moving average.
        legacy: Let the weights change one epoch before the strength does, as the public
            code does.
        normalize: Mean and std that are applied inside, in front of the backbone; see
            `RobustClassifier`.
        bn_mode: How the attack sees BatchNorm layers, see `AdversarialTraining`.
        optimizer: Makes optimizer and learning-rate schedule. Defaults to the paper's
            for batches of 512, `WarmupCosineLARS(lr=5.0, warmup=0.01)`.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If the backbone has no BatchNorm layers; in training, if the number
            of epochs is not known, or if the views follow another schedule.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2)
        >>> module = DynACL("resnet8_tiny", attack=attack)
        >>> module.encoder(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        attack: AttackLike | None = None,
        temperature: float = 0.5,
        weight: float = 2 / 3,
        period: int = 50,
        momentum: float = 0.99,
        legacy: bool = False,
        normalize: NormalizeChoice = "auto",
        bn_mode: BatchNormMode = "eval",
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        super().__init__(
            attack,
            optimizer=optimizer or WarmupCosineLARS(lr=5.0, warmup=0.01),
            bn_mode=bn_mode,
        )
        online = with_routes(backbones.create_backbone(backbone))
        features = backbones.feature_dim(online)
        head = with_routes(SimCLRProjectionHead(features, 512, 512, num_layers=3))
        self.normalize = create_normalize(normalize, online)
        self.online_backbone, self.online_projection_head = online, head
        self.backbone = copy.deepcopy(online).requires_grad_(False)
        self.projection_head = copy.deepcopy(head).requires_grad_(False)
        self.temperature, self.weight = temperature, weight
        self.period, self.momentum, self.legacy = period, momentum, legacy
        self.save_hyperparameters(
            "temperature", "weight", "period", "momentum", "legacy", "bn_mode"
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the contrastive loss of two views in [0, 1]."""
        query = self.online_backbone(self.normalize(first))
        key = self.backbone(self.normalize(second))
        return nt_xent(
            self.online_projection_head(query),
            self.projection_head(key),
            temperature=self.temperature,
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        views = views_of(batch, 2)
        update_momentum(self.online_backbone, self.backbone, self.momentum)
        update_momentum(
            self.online_projection_head, self.projection_head, self.momentum
        )
        perturbed = self.perturb(self, *views)
        with bn_route(ADV):
            adversarial = self(*perturbed)
        with bn_route(CLEAN):
            clean = self(*views)
        gain = self.gain()
        loss: Tensor = ((1 - gain) * clean + (1 + gain) * adversarial) / 2
        values = {
            "train_loss": loss,
            "clean_loss": clean,
            "adversarial_loss": adversarial,
            "augmentation_strength": self.strength(),
        }
        self.log_dict(values, batch_size=len(views[0]))
        return loss

    def strength(self) -> float:
        """Return the strength of augmentation in this epoch; 1 outside of training."""
        return self._schedule(self.current_epoch) if self._trainer else 1.0

    def gain(self) -> float:
        """Return by how much the adversarial loss weighs more than 1, the other less.

        Examples:
            >>> DynACL("resnet8_tiny").gain()
            0.0
        """
        if not (self.legacy and self._trainer):
            return self.weight * (1 - self.strength())
        periods = (self.current_epoch + 1) // self.period
        steps = periods * self.period / self._schedule.epochs
        return min(self.weight * steps, 1.0)

    def on_train_start(self) -> None:
        """Compare the strength that the method counts on with that of the views."""
        augmentation_strength.check(self.trainer, self._schedule)
        augmentation_strength.set_epoch(self.trainer)

    def on_train_epoch_start(self) -> None:
        """Tell the views which epoch it is."""
        augmentation_strength.set_epoch(self.trainer)

    @property
    def _schedule(self) -> StrengthSchedule:
        return augmentation_strength.schedule_of(self.trainer, self.period)
