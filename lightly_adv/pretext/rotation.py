"""Telling by how much an image was turned."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from lightly_adv.models import backbones
from lightly_adv.models.normalization import NormalizeChoice
from lightly_adv.pretext import rotate
from lightly_adv.pretext.heads import RotationPredictionHead
from lightly_adv.pretext.task import PretextTask


class RotationTask(PretextTask):
    """Predict which of four turns each image was given, equally often in a batch.

    - [0] Unsupervised Representation Learning by Predicting Image Rotations, 2018,
      https://arxiv.org/abs/1803.07728
    - [1] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        backbone: A name that timm knows or a module, from images (B, 3, H, W) to
            features (B, D).
        normalize: Mean and std that are applied inside, in front of the backbone.
            "auto" takes those that it was made for, ImageNet's if it does not say;
            None is for backbones that take plain pixels.

    Raises:
        ValueError: If the name of the backbone is unknown.

    Examples:
        >>> import torch
        >>> task = RotationTask(backbone="resnet8_tiny")
        >>> inputs, targets = task.draw(torch.rand(8, 3, 32, 32))
        >>> logits = task(inputs)
        >>> logits.shape, task.criterion(logits, targets).shape
        (torch.Size([8, 4]), torch.Size([]))
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        normalize: NormalizeChoice = "auto",
    ) -> None:
        super().__init__(backbone, normalize=normalize)
        features = backbones.feature_dim(self.backbone)
        self.head = RotationPredictionHead(features, rotate.NUM_ROTATIONS)

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Turn each image by a multiple of 90 degrees that is drawn for it.

        Args:
            images: Square images of shape (B, 3, H, H) with pixels in [0, 1].
            generator: Where the randomness comes from; torch's global generator if
                None.

        Returns:
            The turned images, and the turns of shape (B,), from 0 to 3.
        """
        targets = rotate.balanced_labels(
            len(images), generator=generator, device=images.device
        )
        return rotate.rotate(images, targets), targets

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the four turns, shape (B, 4)."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Turn images back."""
        return rotate.rotate(inputs, -targets)
