"""RoCL: an adversarial view as a further positive."""

from __future__ import annotations

from typing import Any

import torch
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.functional.contrastive import nt_xent
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.batch_views import views_of
from lightly_adv.models import backbones
from lightly_adv.models.normalization import NormalizeChoice, create_normalize
from lightly_adv.training.optimizers import OptimizerFactory, WarmupCosineLARS


class RoCL(AdversarialModule):
    """Contrast two views and an adversarial one, as in [0].

    The attack moves the first view away from the second in the contrastive loss of the
    two. Training draws all three together: twice the mean of `pair_losses` over their
    six pairs, plus `weight` times the loss of the attacked and the second view.

    Batches have two views, with pixels in [0, 1]. Logged is `train_loss`.

    - [0] Adversarial Self-Supervised Contrastive Learning, 2020,
      https://arxiv.org/abs/2006.07589

    Args:
        backbone: A name that timm knows, or a module.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule`. The paper's is PGD with 7 steps of 0.007 in 0.0314.
        temperature: Temperature of the losses.
        weight: Weight of the further loss of attacked and second view.
        detach_keys: Let gradients flow through the anchor of each pair alone, in the
            attack, too, as the public code does.
        normalize: Mean and std that are applied inside, in front of the backbone; see
            `RobustClassifier`. The public code has none.
        bn_mode: How the attack sees BatchNorm layers, see `AdversarialTraining`.
        optimizer: Makes optimizer and learning-rate schedule. Defaults to the paper's
            for batches of 512, `WarmupCosineLARS(lr=1.5, warmup=0.01)`.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If the backbone is unknown.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> module = RoCL("resnet8_tiny", attack=PGD(ThreatModel(eps=8 / 255), steps=2))
        >>> module(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        attack: AttackLike | None = None,
        temperature: float = 0.5,
        weight: float = 1 / 256,
        detach_keys: bool = True,
        normalize: NormalizeChoice = "auto",
        bn_mode: BatchNormMode = "eval",
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        super().__init__(
            attack,
            optimizer=optimizer or WarmupCosineLARS(lr=1.5, warmup=0.01),
            bn_mode=bn_mode,
        )
        self.backbone = backbones.create_backbone(backbone)
        self.normalize = create_normalize(normalize, self.backbone)
        features = backbones.feature_dim(self.backbone)
        self.projection_head = SimCLRProjectionHead(
            features, 2048, 128, num_layers=2, batch_norm=False
        )
        self.temperature = temperature
        self.weight = weight
        self.detach_keys = detach_keys
        self.save_hyperparameters("temperature", "weight", "detach_keys", "bn_mode")

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings of images in [0, 1]."""
        embeddings: Tensor = self.projection_head(self.backbone(self.normalize(images)))
        return embeddings

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        first, second = views_of(batch, 2)
        with self.attack_mode():
            partner = self(second)
        perturbed = self.perturb(lambda x: self.contrast(self(x), partner), first)
        embeddings = self(torch.cat([first, second, perturbed])).chunk(3)
        loss = 2 * self.contrast(*embeddings)
        loss = loss + self.weight * self.contrast(*embeddings[1:])
        self.log("train_loss", loss, prog_bar=True, batch_size=len(first))
        return loss

    def contrast(self, *embeddings: Tensor) -> Tensor:
        """Return the contrastive loss of two or more views."""
        return nt_xent(
            *embeddings, temperature=self.temperature, detach_keys=self.detach_keys
        )
