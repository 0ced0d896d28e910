"""Telling which of the hidden patches of an image belongs in which place."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn

from lightly_adv.functional import sampling, validation
from lightly_adv.models import stages as backbone_stages
from lightly_adv.models.normalization import NormalizeChoice
from lightly_adv.pretext import tiles
from lightly_adv.pretext.attention_pooling import AttentionPooling
from lightly_adv.pretext.task import PretextTask

MaskPer: TypeAlias = Literal["batch", "image"]
"""Whether all images of a batch hide the same places."""


class SelfieTask(PretextTask):
    """Choose, for each hidden place, the patch that was cut out there.

    Each image is cut into patches. Those of the hidden places are the candidates,
    the others are pooled to one vector. That vector plus an embedding of a hidden
    place (of its row and of its column) is the query; its product with the feature of
    each candidate is a logit. The candidates come from the same image.

    Inputs are the images themselves, targets the order in which the places of the
    grid were drawn: the first `num_masked` of them are hidden.

    - [0] Selfie: Self-supervised Pretraining for Image Embedding, 2019,
      https://arxiv.org/abs/1906.02940
    - [1] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        backbone: A name that timm knows or a module, from images (B, 3, H, W) to
            features (B, D).
        grid: Number of patches along each side.
        num_masked: Number of hidden patches, at least 2.
        mask_per: Hide the same places in all images of a "batch", as in [1], or
            others in each "image".
        stages: How many stages of the backbone make the patch network; those behind
            are not trained. None takes the whole backbone.
        depth: Number of attention layers; 13 in the network of [1].
        dropout: Dropout of the attention layers.
        logit_scale: What logits are multiplied by. Defaults to one over the root
            of the width of the features, 1.0 for the bare products of [1].
        normalize: Mean and std that are applied inside, in front of the backbone.
            "auto" takes those that it was made for, ImageNet's if it does not say;
            None is for backbones that take plain pixels.

    Raises:
        ValueError: If the name of the backbone is unknown, if it does not have these
            stages, or if a number is out of range.

    Examples:
        >>> task = SelfieTask(backbone="resnet8_tiny", depth=1)
        >>> inputs, targets = task.draw(torch.rand(8, 3, 32, 32))
        >>> task.logits(inputs, targets).shape
        torch.Size([8, 4, 4])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        grid: int = 4,
        num_masked: int = 4,
        mask_per: MaskPer = "batch",
        stages: int | None = 3,
        depth: int = 3,
        dropout: float = 0.1,
        logit_scale: float | None = None,
        normalize: NormalizeChoice = "auto",
    ) -> None:
        _check(grid, num_masked, mask_per)
        super().__init__(backbone, normalize=normalize)
        self.grid = grid
        self.num_masked = num_masked
        self.mask_per = mask_per
        self.level = backbone_stages.feature_level(self.backbone, stages)
        dim = self.level.width
        self.logit_scale = dim**-0.5 if logit_scale is None else logit_scale
        self.pooling = AttentionPooling(dim, depth=depth, dropout=dropout)
        self.rows = nn.Parameter(torch.randn(grid, dim))
        self.columns = nn.Parameter(torch.zeros(grid, dim))

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw which places are hidden.

        Args:
            images: Images of shape (B, 3, H, W) with pixels in [0, 1].
            generator: Where the randomness comes from; torch's global generator if
                None.

        Returns:
            The images as they are, and orders of the places, integers of shape
            (B, grid * grid).
        """
        device = sampling.source_device(generator)
        batch = len(images) if self.mask_per == "image" else 1
        noise = torch.rand(batch, self.grid**2, generator=generator, device=device)
        orders = noise.argsort(dim=1).expand(len(images), -1)
        return images, orders.to(images.device)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features (B, grid * grid, D) of the patches of images."""
        patches = tiles.split_tiles(self.normalize(inputs), self.grid)
        vectors = backbone_stages.level_features(
            self.backbone, patches.flatten(0, 1), self.level
        )
        return vectors.view(len(inputs), self.grid**2, -1)

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logits (B, hidden places, candidates)."""
        features = tiles.take_tiles(self(inputs), targets)
        candidates, visible = features.tensor_split([self.num_masked], dim=1)
        hidden = targets[:, : self.num_masked]
        place = self.rows[hidden // self.grid] + self.columns[hidden % self.grid]
        queries = self.pooling(visible)[:, None] + place
        logits: Tensor = queries @ candidates.mT * self.logit_scale
        return logits

    def labels(self, targets: Tensor) -> Tensor:
        """Return (B, hidden places): the candidates lie in the order of the places."""
        places = torch.arange(self.num_masked, device=targets.device)
        return places.expand(len(targets), -1)

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the inputs: nothing was moved."""
        del targets
        return inputs


def _check(grid: int, num_masked: int, mask_per: str) -> None:
    validation.check_choice("mask_per", mask_per, get_args(MaskPer))
    if not 2 <= num_masked < grid**2:
        raise ValueError(
            f"num_masked={num_masked} of {grid} x {grid} patches; expected at least 2, "
            "to have a choice, and fewer than all."
        )
