"""Lightly's linear classifier, such that attacks can reach the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from lightly.utils import benchmarking
from torch import Tensor, nn

from lightly_adv.attacks import PGD
from lightly_adv.callbacks import RobustValidation
from lightly_adv.functional import validation
from lightly_adv.lightning import pl
from lightly_adv.methods.adversarial_module import AdversarialModule
from lightly_adv.models import backbones
from lightly_adv.models.normalization import create_normalize
from lightly_adv.threat_model import ThreatModel

FinetuningProtocol: TypeAlias = Literal["SLF", "ALF", "AFF"]
"""Standard and adversarial linear fine-tuning, and adversarial full fine-tuning."""

STEPS = 10
"""Steps of the attack of ALF and AFF, each of a quarter of eps."""

MAX_VAL_SAMPLES = 512
"""How many validation images are attacked after an epoch."""


class LinearClassifier(benchmarking.LinearClassifier, AdversarialModule):  # type: ignore[misc]
    """A linear head on an encoder, with clean and with robust accuracy.

    It has the constructor, the optimiser and the checkpoint keys of
    `lightly.utils.benchmarking.LinearClassifier`, which runs its encoder without
    gradients, so that no attack reaches the images. This one lets them through and
    freezes the parameters instead.

    Logged are `train_loss`, `val_loss`, and in percent `train_top1`, `train_top5`,
    `val_top1`, `val_top5` and, with PGD-20 on the first 512 validation images,
    `val_robust_top1`. In ALF and AFF the metrics of training are those of perturbed
    images. A k that exceeds the number of classes is left out.

    Args:
        model: Maps images of shape (B, C, H, W) to features, which are flattened.
        batch_size_per_device: Batch size per device, by which the learning rate is
            scaled: `lr * batch_size_per_device * devices / 256`.
        lr: Learning rate for a batch of 256; it falls to zero on a cosine.
        feature_dim: Number of features.
        num_classes: Number of classes.
        topk: For which k the top-k accuracy is logged.
        protocol: "SLF" trains the head on clean images, "ALF" on perturbed ones;
            "AFF" trains everything on perturbed ones. What is frozen stays in eval
            mode.
        threat_model: What the attacks may do. Its `normalize` must be what the
            transforms did to the images. Defaults to Linf 8/255 on pixels.

    Raises:
        ValueError: If the protocol is unknown, or there are fewer than two classes; in
            `forward`, if there are not `feature_dim` features.

    Examples:
        >>> import torch
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
        >>> classifier = LinearClassifier(
        ...     encoder, batch_size_per_device=256, feature_dim=5, num_classes=10
        ... )
        >>> classifier(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """

    model: nn.Module
    classification_head: nn.Module

    def __init__(
        self,
        model: nn.Module,
        batch_size_per_device: int,
        lr: float = 0.1,
        feature_dim: int = 2048,
        num_classes: int = 1000,
        topk: tuple[int, ...] = (1, 5),
        *,
        protocol: FinetuningProtocol = "SLF",
        threat_model: ThreatModel | None = None,
    ) -> None:
        check_protocol(protocol)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; expected at least 2.")
        topk = tuple(k for k in topk if k <= num_classes)
        # The next class is Lightly's, of which mypy knows nothing.
        parent: Any = super()
        parent.__init__(
            model, batch_size_per_device, lr, feature_dim, num_classes, topk
        )
        self.protocol = protocol
        self.threat_model = threat_model or ThreatModel()
        self.attack = None if protocol == "SLF" else PGD(self.threat_model, steps=STEPS)
        if self._frozen:
            self.model.requires_grad_(False)
        self.train()
        # A checkpoint holds plain values only, so that it loads without unpickling.
        self.hparams.pop("threat_model", None)
        self.save_hyperparameters({"trained_with": self.attack and str(self.attack)})

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        return self.model

    @property
    def normalize(self) -> nn.Module:
        """What the transforms did to the images, as a layer."""
        layer = create_normalize(self.threat_model.normalize, self.model)
        return layer.to(self.device)

    @property
    def _frozen(self) -> bool:
        return self.protocol != "AFF"

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of images (B, C, H, W)."""
        features = backbones.one_tensor(self.model(images), self.model).flatten(1)
        if features.shape[1] != self.feature_dim:
            raise ValueError(
                f"the encoder returned {features.shape[1]} features, but "
                f"feature_dim={self.feature_dim}; pass "
                f"feature_dim={features.shape[1]}."
            )
        logits: Tensor = self.classification_head(features)
        return logits

    def train(self, mode: bool = True) -> LinearClassifier:
        """Set train or eval mode; a frozen encoder stays in eval mode."""
        super().train(mode)
        # Called by the constructor of the parent, too, when nothing is known yet.
        if getattr(self, "protocol", "AFF") != "AFF":
            self.model.eval()
        return self

    def on_train_epoch_start(self) -> None:
        """Set the modes of the protocol; Lightning would keep those that it finds."""
        self.train()

    def shared_step(
        self, batch: Sequence[Tensor], batch_idx: int
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the loss and the top-k accuracies in percent."""
        loss, topk = super().shared_step((batch[0], batch[1]), batch_idx)
        return loss, {k: 100 * value for k, value in topk.items()}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch, perturbed in ALF and AFF."""
        images, labels = batch[0], batch[1]
        if self.attack is not None:
            images = self._perturbed(images, labels)
        loss: Any = super().training_step((images, labels), batch_idx)
        return loss  # type: ignore[no-any-return]

    def get_trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the head, in AFF all."""
        return list((self.classification_head if self._frozen else self).parameters())

    def configure_callbacks(self) -> list[pl.Callback]:
        """Attack the validation images, too."""
        robust = RobustValidation(self.threat_model, max_samples=MAX_VAL_SAMPLES)
        return [robust]

    def _perturbed(self, images: Tensor, labels: Tensor) -> Tensor:
        def losses(images: Tensor) -> Tensor:
            return nn.functional.cross_entropy(self(images), labels, reduction="none")

        perturbed: Tensor = self.perturb(losses, images)
        return perturbed


def check_protocol(protocol: str) -> None:
    """Check the name of a protocol.

    Raises:
        ValueError: If it is unknown.
    """
    validation.check_choice("protocol", protocol, get_args(FinetuningProtocol))
