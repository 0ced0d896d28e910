"""An encoder that is ready, made robust without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightly_adv.attacks import AttackLike
from lightly_adv.callbacks import preflight
from lightly_adv.evaluation import digests
from lightly_adv.functional import feature_distances, validation
from lightly_adv.functional.feature_distances import FeatureDistance
from lightly_adv.functional.schedules import Scheduled
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.fidelity import AttackedOnly, Features, Fidelity
from lightly_adv.methods.pretraining import images_of
from lightly_adv.models import backbones, lora, tokens, trained_parts
from lightly_adv.models.normalization import (
    NormalizeChoice,
    create_normalize,
    resolve_normalize,
)
from lightly_adv.models.tokens import Tokens
from lightly_adv.training.optimizers import OptimizerFactory, WarmupCosineAdamW

Statistics: TypeAlias = Literal["teacher", "batch"]
"""What BatchNorm layers of the student normalise with."""

CLEAN_EVERY = 10
"""How often, in batches, the clean distance is measured that is not trained on."""


class RobustDistillation(AdversarialModule):
    """Make a backbone robust: attacked images get the features of clean ones.

    The student starts as the backbone, the teacher is a frozen copy of it. The attack
    raises the distance between the features of the student for the attacked image and
    those of the teacher for the clean one; training lowers it. With the defaults it is
    FARE [0]; `fidelity` and `distance` make it LORE [1], DeACL or one of their
    relatives. Batches are images, or begin with images, with pixels in [0, 1].

    Logged are `train_loss`, and relative to the size of the teacher's features (see
    `feature_distances.size`) `attacked_distance` and `clean_distance`; the latter in
    every tenth batch only where no loss needs it.

    - [0] Robust CLIP: Unsupervised Adversarial Fine-Tuning of Vision Embeddings for
      Robust Large Vision-Language Models, 2024, https://arxiv.org/abs/2402.12336
    - [1] LORE: Lagrangian-Optimized Robust Embeddings for Visual Encoders, 2025,
      https://arxiv.org/abs/2505.18884

    Args:
        backbone: The encoder with its weights, from images to features; it is trained.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule` that grows it. It needs a random start: at the clean image
            the distance of a student that is still the teacher has no gradient.
        distance: "l2" for the squared length of the difference of features as they
            are, "cosine", or a function of features and target, which returns (B,).
        attack_distance: What the attack raises, if it is something else.
        tokens: Which features: "pooled" as the backbone returns them; of a ViT the
            "class" token, "patch" tokens or "all"; of a convolutional network the
            places of the last "map".
        fidelity: What else is trained, such as `CleanConstraint(rho=0.05)`,
            `CleanDistance()` or `Consistency()`. Defaults to nothing.
        trainable: "all", "norm", "first:K" or "last:K" blocks, or "lora:R", see
            `models.trained_parts.train_only`.
        statistics: BatchNorm layers normalise with the running statistics of the
            "teacher", which stay, or with those of the "batch", with which the clean
            features drift.
        normalize: Mean and std that are applied inside, in front of the backbone.
            "auto" takes those of the backbone's timm configuration; None is for a
            backbone that takes plain pixels.
        gradient_checkpointing: Compute activations twice instead of keeping them.
        channels_last: Keep networks and images in the channels-last format, which is
            faster for convolutions.
        image_scale: Size of the images that are trained on, relative to those that
            come, or a function of progress. Patches of a ViT have to fit it.
        optimizer: Makes optimizer and learning-rate schedule. Defaults to FARE's:
            AdamW with a rate of 1e-5, weight decay 1e-4, warm-up and cosine.

    Raises:
        TypeError: If the backbone is no module, or the attack is not one.
        ValueError: If the attack has no random start or a normalisation of its own, or
            if the backbone lacks the tokens or layers that are asked for.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> from lightly_adv.models import create_backbone
        >>> backbone = create_backbone("resnet8_tiny")
        >>> attack = PGD(ThreatModel(eps=4 / 255), steps=2)
        >>> module = RobustDistillation(backbone, attack)
        >>> sorted(module.losses(torch.rand(4, 3, 32, 32)))
        ['attacked_distance', 'clean_distance', 'train_loss']
    """

    def __init__(
        self,
        backbone: nn.Module,
        attack: AttackLike,
        *,
        distance: str | FeatureDistance = "l2",
        attack_distance: str | FeatureDistance | None = None,
        tokens: Tokens = "pooled",
        fidelity: Fidelity | None = None,
        trainable: str = "all",
        statistics: Statistics = "teacher",
        normalize: NormalizeChoice = "auto",
        gradient_checkpointing: bool = False,
        channels_last: bool = False,
        image_scale: Scheduled = 1.0,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        default = WarmupCosineAdamW(1e-5, 1e-4, warmup=0.07)
        super().__init__(attack, optimizer=optimizer or default)
        _check_attack(attack)
        _check_backbone(backbone, tokens)
        validation.check_choice("statistics", statistics, get_args(Statistics))
        self.distance = feature_distances.resolve(distance)
        self.attack_distance = feature_distances.resolve(attack_distance or distance)
        self.tokens = tokens
        self.statistics = statistics
        self.fidelity: Fidelity = fidelity or AttackedOnly()
        normalize = resolve_normalize(normalize, backbone)
        self.normalize = create_normalize(normalize, backbone)
        self.teacher = self.frozen(backbone)
        self.teacher_digest = digests.of_model(self.teacher)
        self.backbone = backbone
        trained_parts.train_only(backbone, trainable)
        if gradient_checkpointing:
            _checkpoint_gradients(backbone)
        self.image_scale = image_scale
        self.channels_last = channels_last
        if channels_last:
            self.to(memory_format=torch.channels_last)
        # Lightning keeps the flags that it finds.
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Return features of the student for images (B, 3, H, W) in [0, 1]."""
        return self._features(self.backbone, images)

    def train(self, mode: bool = True) -> RobustDistillation:
        """Set train or eval mode; the statistics of the teacher stay."""
        super().train(mode)
        if self.statistics == "teacher":
            for layer in self.backbone.modules():
                if trained_parts.keeps_statistics(layer):
                    layer.eval()
        return self

    def targets(self, images: Tensor) -> Tensor:
        """Return the features of the teacher, without a gradient.

        Raises:
            ValueError: If they are not finite.
        """
        with torch.no_grad():
            found = self._features(self.teacher, images)
        if not found.isfinite().all():
            raise ValueError(
                f"the features of the teacher are not finite ({found.dtype}); expected "
                "finite numbers. In half precision large ones overflow: use "
                'precision="bf16-mixed" or "32-true" in the Trainer; otherwise look at '
                "the weights."
            )
        return found

    def perturbed(self, images: Tensor, target: Tensor) -> Tensor:
        """Return images whose features are far from the target, one loss per image."""
        # Low-rank updates are the same in all steps of an attack.
        with parametrize.cached():
            found: Tensor = self.perturb(
                lambda images: self.attack_distance(self(images), target),
                images,
                bn_mode="eval" if self.statistics == "teacher" else "batch",
            )
        return found

    def losses(self, images: Tensor, *, measure: bool = True) -> dict[str, Tensor]:
        """Return the loss of a batch and what is logged with it, as numbers.

        Args:
            images: Images (B, 3, H, W) in [0, 1].
            measure: Measure the clean distance even if it is not trained on.
        """
        target = self.targets(images)
        attacked = self(self.perturbed(images, target))
        clean = self(images) if self.fidelity.needs_clean else None
        features = Features(attacked, target, clean)
        found = {"train_loss": self.fidelity.loss(features, self.distance).mean()}
        with torch.no_grad():
            if clean is None and measure:
                clean = self(images)
            size = feature_distances.size(self.distance, target).mean()
            moved = {"attacked_distance": attacked, "clean_distance": clean}
            for name, each in moved.items():
                if each is not None:
                    found[name] = self.distance(each, target).mean() / size
        return found

    def setup(self, stage: str) -> None:
        """Refuse to train with parameters that are spread over processes.

        Raises:
            ValueError: If the strategy does that.
        """
        if stage == "fit":
            preflight.check_strategy(self.trainer.strategy)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        images = _scaled(images_of(batch), self.image_scale, lambda: self.progress)
        found = self.losses(images, measure=batch_idx % CLEAN_EVERY == 0)
        update = getattr(self.fidelity, "update", None)
        if update is not None:
            update(found["clean_distance"])
        self.log_dict(found, prog_bar=True, batch_size=len(images))
        return found["train_loss"]

    def robust_backbone(self) -> nn.Module:
        """Return a copy of the student that goes downstream, with the teacher's keys.

        Low-rank updates are part of its weights; it is in eval mode, and everything in
        it trains.
        """
        twin = lora.merged(self.backbone).requires_grad_(True).eval()
        if hasattr(twin, "set_grad_checkpointing"):
            twin.set_grad_checkpointing(False)  # type: ignore[operator]
        return twin

    def _features(self, network: nn.Module, images: Tensor) -> Tensor:
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return tokens.read_features(network, self.normalize(images), self.tokens)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the digest of the teacher."""
        checkpoint["teacher_digest"] = self.teacher_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint with another teacher.

        Raises:
            ValueError: If it is one.
        """
        found = checkpoint.get("teacher_digest")
        if found is not None and found != self.teacher_digest:
            raise ValueError(
                "the checkpoint was trained towards a teacher with the digest "
                f"{found[:12]}, this one has {self.teacher_digest[:12]}; begin from "
                "the weights that the run began from."
            )


def _scaled(images: Tensor, scale: Scheduled, progress: Callable[[], float]) -> Tensor:
    # Only what changes has to know how long training lasts.
    share = scale(progress()) if callable(scale) else scale
    if share == 1:
        return images
    size = [round(share * side) for side in images.shape[-2:]]
    smaller = F.interpolate(images, size, mode="bilinear", antialias=True)
    return smaller.clamp(0, 1)


def _check_attack(attack: AttackLike) -> None:
    final = attack.at(1.0)
    if not final.random_start:
        raise ValueError(
            f"{type(final).__name__} has random_start=False; expected True: at the "
            "clean image the distance from the teacher is 0, and so is its gradient."
        )
    if final.threat_model.normalize is not None:
        raise ValueError(
            f"the threat model has normalize={final.threat_model.normalize}, but "
            "images come in pixels here and are normalised inside; leave it out, and "
            "give normalize= to RobustDistillation."
        )


def _check_backbone(backbone: nn.Module, chosen: Tokens) -> None:
    if not isinstance(backbone, nn.Module):
        raise TypeError(
            f"backbone is a {type(backbone).__name__}; expected a module with its "
            "weights, such as timm.create_model(NAME, pretrained=True, num_classes=0)."
        )
    backbones.create_backbone(backbone)  # refuses a classifier
    tokens.check_tokens(backbone, chosen)


def _checkpoint_gradients(backbone: nn.Module) -> None:
    if not hasattr(backbone, "set_grad_checkpointing"):
        raise ValueError(
            f"gradient_checkpointing=True, but this {type(backbone).__name__} has no "
            "set_grad_checkpointing as networks of timm do; leave it out."
        )
    backbone.set_grad_checkpointing(True)  # type: ignore[operator]
