"""DeACL: a robust student of a clean teacher."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from lightly_adv.attacks import AttackLike
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.batch_views import views_of
from lightly_adv.models import backbones, checkpoints
from lightly_adv.models.normalization import NormalizeChoice, create_normalize
from lightly_adv.training.optimizers import OptimizerFactory, WarmupCosineSGD


class DeACL(AdversarialModule):
    """Distil a clean encoder into a robust one, without labels, as in [0].

    The student starts as the teacher, which stays as it is. The attack turns the
    features of the student away from those of the teacher for the clean image. Training
    turns the clean features of the student to the teacher, and its attacked features
    to its clean ones: `-cos(S(x), T(x)) - weight * cos(S(x_adv), S(x))`, with gradient
    through both sides of the second term, and both streams in one forward pass.

    Batches have one view, weakly augmented, with pixels in [0, 1]. Logged are
    `train_loss`, `clean_cosine` and `adversarial_cosine`.

    - [0] Decoupled Adversarial Contrastive Learning for Self-supervised Adversarial
      Robustness, 2022, https://arxiv.org/abs/2207.10899

    Args:
        backbone: A name that timm knows, or a module with its weights.
        checkpoint: A file with the weights of the clean encoder, see
            `models.load_backbone`.
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule`. The paper's is PGD with 5 steps of 2/255 in 8/255.
        teacher: Another network to learn from, with as many features.
        weight: Weight of the adversarial term.
        normalize: Mean and std that are applied inside, in front of the backbone; see
            `RobustClassifier`.
        bn_mode: How the attack sees BatchNorm layers, see `AdversarialTraining`.
        optimizer: Makes optimizer and learning-rate schedule. Defaults to the paper's
            for batches of 256, `WarmupCosineSGD(lr=0.5)`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        TypeError: If the attack is not one.
        ValueError: If the checkpoint is of another architecture, or if the teacher has
            another number of features.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> from lightly_adv.models import create_backbone
        >>> attack = PGD(ThreatModel(eps=8 / 255), steps=2, step_size=4 / 255)
        >>> module = DeACL(create_backbone("resnet8_tiny"), attack=attack)
        >>> module.teacher.training
        False
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        attack: AttackLike | None = None,
        teacher: nn.Module | None = None,
        weight: float = 2.0,
        normalize: NormalizeChoice = "auto",
        bn_mode: BatchNormMode = "eval",
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        super().__init__(
            attack, optimizer=optimizer or WarmupCosineSGD(), bn_mode=bn_mode
        )
        self.backbone = backbones.create_backbone(backbone)
        self.normalize = create_normalize(normalize, self.backbone)
        if checkpoint is not None:
            checkpoints.load_backbone(self.backbone, checkpoint)
        elif isinstance(backbone, str) and teacher is None:
            warn_untrained(backbone)
        self.teacher = self.frozen(teacher or self.backbone)
        check_features(self.backbone, self.teacher)
        self.weight = weight
        self.save_hyperparameters("weight", "bn_mode")

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of the student for images in [0, 1]."""
        features: Tensor = self.backbone(self.normalize(images))
        return features

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        (images,) = views_of(batch, 1)
        with torch.no_grad():
            target = self.teacher(self.normalize(images))
        perturbed = self.perturb(lambda x: -cosine_similarity(self(x), target), images)
        features, attacked = self(torch.cat([images, perturbed])).chunk(2)
        clean = cosine_similarity(features, target).mean()
        adversarial = cosine_similarity(attacked, features).mean()
        loss = -clean - self.weight * adversarial
        values = {
            "train_loss": loss,
            "clean_cosine": clean,
            "adversarial_cosine": adversarial,
        }
        self.log_dict(values, prog_bar=True, batch_size=len(images))
        return loss


def warn_untrained(name: str) -> None:
    """Say that a teacher has no weights."""
    warnings.warn(
        f"the teacher is a {name} with random weights, from which there is nothing to "
        "learn; give the file of a clean encoder as checkpoint=, or a backbone with "
        "its weights.",
        stacklevel=3,
    )


def check_features(student: nn.Module, teacher: nn.Module) -> None:
    """Refuse a teacher whose features the student cannot be compared with.

    Raises:
        ValueError: If their numbers differ.
    """
    counts = [backbones.feature_dim(network) for network in (student, teacher)]
    if counts[0] != counts[1]:
        raise ValueError(
            f"the backbone has {counts[0]} features and the teacher {counts[1]}; "
            "expected the same number, such as from the same architecture."
        )
