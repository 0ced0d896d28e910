"""A linear head on a backbone, trained on clean or on perturbed images."""

from __future__ import annotations

import os
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv.attacks import AttackLike
from lightly_adv.batch_norm import routes
from lightly_adv.functional import validation
from lightly_adv.isolation import modes
from lightly_adv.lightning import rank_zero_info
from lightly_adv.methods import criteria
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.methods.criteria import AdversarialCriterion
from lightly_adv.models import backbones, partial_load, stages
from lightly_adv.models.checkpoints import LoadReport
from lightly_adv.models.normalization import (
    NormalizeChoice,
    create_normalize,
    resolve_normalize,
)
from lightly_adv.models.partial_load import LoadChoice
from lightly_adv.training.backends import AttackBackend
from lightly_adv.training.optimizers import OneCycleSGD

Trainable: TypeAlias = Literal["head", "last_stage", "all"]
"""What is trained: the linear head, also the last stage, or everything."""


class RobustClassifier(AdversarialModule):
    """Fine-tune a backbone with a linear head on labelled images.

    With an attack it is trained on perturbed images only, as in [0], or on both as
    its criterion says. The usual protocols are SLF (`trainable="head"`), ALF ("head"
    with an attack) and AFF ("all" with an attack); "last_stage" is the partial
    fine-tuning of [1]. What is frozen stays in eval mode, takes no gradient and is not
    in the optimiser.

    Batches are (images, labels, ...) with pixels in [0, 1]. Logged are the losses
    `train_loss` and `val_loss` and, in percent, `val_top1`, `train_top1` of clean and
    `train_robust_top1` of perturbed images, as far as these are trained on. For
    robust accuracy in validation add `lightly_adv.callbacks.RobustValidation`.

    Where BatchNorm layers have routes, see `convert_dual_batchnorm`, clean images
    take "clean" in training and perturbed ones "adv"; validation takes "adv" if there
    is an attack, else "clean". `forward` itself takes whatever `bn_route` says.

    - [0] Towards Deep Learning Models Resistant to Adversarial Attacks, 2017,
      https://arxiv.org/abs/1706.06083
    - [1] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        backbone: A name that timm knows, or a module from images (B, 3, H, W) to
            features (B, D).
        num_classes: Number of classes.
        trainable: What is trained: "head", "last_stage" (and the head) or "all".
        attack: The attack in pixels (`normalize=None` in its threat model), or an
            `AttackSchedule` that grows it. None trains on clean images.
        criterion: What the attack raises and training minimises: `TRADES(beta=6.0)`,
            `KLRegularized(beta=1.0)`, an object like these, or a name of
            `list_criteria()`. Defaults to `CrossEntropy()`.
        checkpoint: A file with the pre-trained backbone, see `models.load_backbone`.
            What was found in it is kept as `load_report`.
        checkpoint_prefix: Which network to take where there are several in the file,
            such as "teacher.".
        checkpoint_norm: Which of several BatchNorm layers to take, such as "1".
        load: What is taken from it: "all" of the backbone or, as in [1], the
            "trunk", all but its last stage, which is then trained from scratch.
        normalize: Mean and std that are applied inside, in front of the backbone.
            "auto" takes those of the backbone's timm configuration, or of ImageNet
            where it has none; None is for a backbone that takes plain pixels.
        lr: Highest learning rate of the one cycle.
        weight_decay: Weight decay of what is trained.
        warmup: Share of training over which the learning rate rises.
        channels_last: Keep network and images in the channels-last format, which is
            faster for small networks on a CPU.
        attack_backend: How the attack is run, see `AdversarialModule`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        TypeError: If the attack or the criterion is not one.
        ValueError: If a number is out of range, a name unknown, the checkpoint of
            another architecture, or the last stage asked for and unknown; if a
            criterion comes without an attack, or with one that cannot raise it.

    Examples:
        >>> classifier = RobustClassifier("resnet8_tiny", num_classes=5)
        >>> classifier(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        num_classes: int = 10,
        trainable: Trainable = "all",
        attack: AttackLike | None = None,
        criterion: AdversarialCriterion | str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_prefix: str | None = None,
        checkpoint_norm: str | None = None,
        load: LoadChoice = "all",
        normalize: NormalizeChoice = "auto",
        lr: float = 0.1,
        weight_decay: float = 5e-4,
        warmup: float = 0.2,
        channels_last: bool = False,
        attack_backend: AttackBackend = "auto",
    ) -> None:
        super().__init__(
            attack,
            optimizer=OneCycleSGD(lr, weight_decay, warmup),
            attack_backend=attack_backend,
        )
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; expected at least 2.")
        self.criterion = criteria.resolve(criterion, attack)
        self.channels_last = channels_last
        self.backbone = backbones.create_backbone(backbone)
        # Resolved here, so that a checkpoint keeps the numbers and not the word.
        normalize = resolve_normalize(normalize, self.backbone)
        self.normalize = create_normalize(normalize, self.backbone)
        self.head = nn.Linear(backbones.feature_dim(self.backbone), num_classes)
        self.load_report = self._load(
            checkpoint, load, prefix=checkpoint_prefix, norm=checkpoint_norm
        )
        self._trained_parts = self._freeze(trainable)
        if channels_last:
            self.to(memory_format=torch.channels_last)
        # Lightning keeps the flags that it finds.
        self.train()
        objects = [] if isinstance(backbone, str) else ["backbone"]
        once = ["attack", "criterion", "checkpoint", "load"]
        once += ["checkpoint_prefix", "checkpoint_norm"]
        self.save_hyperparameters(ignore=[*once, *objects])
        trained_with = attack and f"{self.criterion}, {attack}"
        self.save_hyperparameters({"trained_with": trained_with})

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of images (B, 3, H, W) in [0, 1]."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.backbone(self.normalize(images)))
        return logits

    def train(self, mode: bool = True) -> RobustClassifier:
        """Set train or eval mode; what is frozen stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        for name in self._trained_parts:
            self.backbone.get_submodule(name).train(mode)
        return self

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of one batch, that of the criterion if there is an attack."""
        images, labels = batch[0], batch[1]

        def clean() -> Tensor:
            return self._answers(images, labels, routes.CLEAN, name="train_top1")

        def adversarial() -> Tensor:
            return self._answers(
                perturbed, labels, routes.ADV, name="train_robust_top1"
            )

        if self.attack is None:
            loss = F.cross_entropy(clean(), labels)
        else:
            perturbed = self._perturbed(images, labels)
            loss = self.criterion.training_loss(clean, adversarial, labels)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log loss and accuracy on clean images."""
        images, labels = batch[0], batch[1]
        logits = self._logits(images, self._route)
        metrics = {
            "val_loss": F.cross_entropy(logits, labels),
            "val_top1": _top1(logits, labels),
        }
        self.log_dict(metrics, prog_bar=True, batch_size=len(labels), sync_dist=True)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.head.out_features

    @property
    def _route(self) -> str:
        return routes.CLEAN if self.attack is None else routes.ADV

    def _logits(self, images: Tensor, route: str) -> Tensor:
        with routes.bn_route(route):
            logits: Tensor = self(images)
        return logits

    def _answers(
        self, images: Tensor, labels: Tensor, route: str, *, name: str
    ) -> Tensor:
        """Return the logits on a BatchNorm route, and log the accuracy under a name."""
        logits = self._logits(images, route)
        top1 = _top1(logits, labels)
        self.log(name, top1, prog_bar=True, batch_size=len(labels))
        return logits

    def _perturbed(self, images: Tensor, labels: Tensor) -> Tensor:
        with modes.attack_mode(self), torch.no_grad():
            loss = self.criterion.attacked_loss(
                lambda: self._logits(images, routes.CLEAN), labels
            )
        found: Tensor = self.perturb(lambda images: loss(self(images)), images)
        return found

    def _load(
        self,
        checkpoint: str | os.PathLike[str] | None,
        load: LoadChoice,
        *,
        prefix: str | None,
        norm: str | None,
    ) -> LoadReport | None:
        partial_load.check_load(load)
        if checkpoint is None:
            return None
        report = partial_load.load_partially(
            self.backbone, checkpoint, load, prefix=prefix, norm=norm
        )
        rank_zero_info(f"{os.fspath(checkpoint)}: {report}")
        return report

    def _freeze(self, trainable: Trainable) -> tuple[str, ...]:
        """Freeze the rest; return the names of the parts of the backbone trained."""
        validation.check_choice("trainable", trainable, get_args(Trainable))
        if trainable == "all":
            return ("",)
        parts = () if trainable == "head" else stages.last_stage(self.backbone)
        self.backbone.requires_grad_(False)
        for name in parts:
            self.backbone.get_submodule(name).requires_grad_(True)
        return parts


def _top1(logits: Tensor, labels: Tensor) -> Tensor:
    return 100 * (logits.detach().argmax(dim=1) == labels).float().mean()
