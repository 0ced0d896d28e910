"""AIR: adversarial contrastive learning that does not see the augmentation."""

from __future__ import annotations

from typing import Any

import torch
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.batch_norm.routes import ADV, CLEAN, bn_route
from lightly_adv.functional.contrastive import nt_xent
from lightly_adv.functional.invariance import invariance_loss, matched_log_shares
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.batch_views import views_of
from lightly_adv.methods.routed import with_routes
from lightly_adv.models import backbones
from lightly_adv.models.normalization import NormalizeChoice, create_normalize
from lightly_adv.training.optimizers import OptimizerFactory, WarmupCosineLARS


class AIR(AdversarialModule):
    """ACL with regularisers against what augmentation and attack change, as in [0].

    The loss is the contrastive loss of the clean views, plus that of the attacked ones,
    plus two divergences. Each compares, over the images of the batch, how similar the
    two views are to the image without augmentation; the second does so for attacked
    views, times how similar these are to the clean ones. Clean and attacked images have
    BatchNorm routes of their own; the encoder has that of attacked ones.

    Batches have two views and the image without augmentation, with pixels in [0, 1], as
    from `ContrastiveViews(strong=2, clean=1)`. Logged are `train_loss`, `clean_loss`,
    `adversarial_loss`, `standard_invariance` and `adversarial_invariance`.

    - [0] Enhancing Adversarial Contrastive Learning via Adversarial Invariant
      Regularization, 2023, https://arxiv.org/abs/2305.00374

    Args:
        backbone: A name that timm knows, or a module, with BatchNorm layers.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule`. The paper's is PGD with 5 steps of 2/255 in 8/255.
        temperature: Temperature of losses and shares.
        standard_weight: Weight of the divergence of clean views.
        adversarial_weight: Weight of the divergence of attacked views.
        legacy: Compute the divergences as the public code does, see `invariance_loss`.
        normalize: Mean and std that are applied inside, in front of the backbone; see
            `RobustClassifier`.
        bn_mode: How the attack sees BatchNorm layers, see `AdversarialTraining`.
        optimizer: Makes optimizer and learning-rate schedule. Defaults to the paper's
            for batches of 512, `WarmupCosineLARS(lr=5.0, warmup=0.01)`.

    Raises:
        TypeError: If the attack is not one.
        ValueError: If the backbone has no BatchNorm layers.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> module = AIR("resnet8_tiny", attack=PGD(ThreatModel(eps=8 / 255), steps=2))
        >>> module(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        attack: AttackLike | None = None,
        temperature: float = 0.5,
        standard_weight: float = 0.5,
        adversarial_weight: float = 0.5,
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
        self.backbone = with_routes(backbones.create_backbone(backbone))
        self.normalize = create_normalize(normalize, self.backbone)
        features = backbones.feature_dim(self.backbone)
        head = SimCLRProjectionHead(features, 512, 512, num_layers=3)
        self.projection_head = with_routes(head)
        self.temperature, self.legacy = temperature, legacy
        self.standard_weight = standard_weight
        self.adversarial_weight = adversarial_weight
        self.save_hyperparameters(
            "temperature", "standard_weight", "adversarial_weight", "legacy", "bn_mode"
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings of images in [0, 1]."""
        embeddings: Tensor = self.projection_head(self.backbone(self.normalize(images)))
        return embeddings

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        first, second, image = views_of(batch, 3)
        perturbed = self.perturb(
            lambda *views: self._contrast(*self(torch.cat(views)).chunk(2)),
            first,
            second,
        )
        with bn_route(ADV):
            attacked = self(torch.cat(perturbed)).chunk(2)
        with bn_route(CLEAN):
            clean = self(torch.cat([first, second])).chunk(2)
            original = self(image)
        shares = [self._shares(view, original) for view in clean]
        attacked_shares = [
            self._shares(view, original) + self._shares(view, unattacked)
            for view, unattacked in zip(attacked, clean, strict=True)
        ]
        values = {
            "clean_loss": self._contrast(*clean),
            "adversarial_loss": self._contrast(*attacked),
            "standard_invariance": invariance_loss(*shares, legacy=self.legacy),
            "adversarial_invariance": invariance_loss(
                *attacked_shares, legacy=self.legacy
            ),
        }
        weights = (1.0, 1.0, self.standard_weight, self.adversarial_weight)
        pairs = zip(weights, values.values(), strict=True)
        loss = torch.stack([weight * value for weight, value in pairs]).sum()
        self.log_dict({"train_loss": loss, **values}, batch_size=len(image))
        return loss

    def _contrast(self, *embeddings: Tensor) -> Tensor:
        return nt_xent(*embeddings, temperature=self.temperature)

    def _shares(self, views: Tensor, partners: Tensor) -> Tensor:
        return matched_log_shares(views, partners, temperature=self.temperature)
