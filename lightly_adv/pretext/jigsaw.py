"""Telling in which order the tiles of an image lie."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from lightly_adv.functional import sampling
from lightly_adv.models import backbones
from lightly_adv.models.normalization import NormalizeChoice
from lightly_adv.pretext import permutations, tiles
from lightly_adv.pretext.heads import JigsawPredictionHead
from lightly_adv.pretext.permutations import Selection
from lightly_adv.pretext.task import PretextTask


class JigsawTask(PretextTask):
    """Predict which of a few permutations the tiles of each image went through.

    The network sees the whole reassembled image. Class 0 is the identity. The
    permutations are drawn once, when the task is made, and are a buffer, so that they
    travel in checkpoints.

    - [0] Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles,
      2016, https://arxiv.org/abs/1603.09246
    - [1] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        backbone: A name that timm knows or a module, from images (B, 3, H, W) to
            features (B, D).
        grid: Number of tiles along each side.
        num_permutations: Number of permutations besides the identity. Defaults to
            the 30 of [1], or to all 23 on a grid of 2.
        bias: Share of the images whose class is drawn from all classes alike, in
            [0, 1]; the others keep their order. With 30 permutations and 0.9 the
            identity has a share of 0.129, as in [1], every permutation one of 0.029.
        selection: "random" permutations as in [1], or such that are far apart in the
            Hamming distance ("hamming") as in [0].
        seed: Seed of the permutations.
        normalize: Mean and std that are applied inside, in front of the backbone.
            "auto" takes those that it was made for, ImageNet's if it does not say;
            None is for backbones that take plain pixels.

    Raises:
        ValueError: If the name of the backbone is unknown, `bias` out of range, or if
            there are fewer permutations than asked for.

    Examples:
        >>> task = JigsawTask(backbone="resnet8_tiny", grid=4)
        >>> inputs, targets = task.draw(torch.rand(8, 3, 32, 32))
        >>> task(inputs).shape, bool((targets < 31).all())
        (torch.Size([8, 31]), True)
    """

    permutations: Tensor

    def __init__(
        self,
        backbone: str | nn.Module = "resnet18_small",
        *,
        grid: int = 4,
        num_permutations: int | None = None,
        bias: float = 0.9,
        selection: Selection = "random",
        seed: int = 0,
        normalize: NormalizeChoice = "auto",
    ) -> None:
        if not 0 <= bias <= 1:
            raise ValueError(
                f"bias={bias} must lie in [0, 1]: it is the share of the images "
                "whose class is drawn from all classes alike."
            )
        super().__init__(backbone, normalize=normalize)
        self.grid = grid
        self.bias = bias
        count = _default_count(grid) if num_permutations is None else num_permutations
        drawn = permutations.draw_permutations(
            grid**2,
            count,
            selection=selection,
            generator=Generator().manual_seed(seed),
        )
        identity = torch.arange(grid**2, device=drawn.device)[None]
        orders = torch.cat([identity, drawn]).to(torch.get_default_device())
        self.register_buffer("permutations", orders)
        features = backbones.feature_dim(self.backbone)
        self.head = JigsawPredictionHead(features, len(self.permutations))

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Shuffle the tiles of each image by a permutation that is drawn for it.

        Args:
            images: Images of shape (B, 3, H, W) with pixels in [0, 1].
            generator: Where the randomness comes from; torch's global generator if
                None.

        Returns:
            The shuffled images, and the numbers of the permutations, shape (B,).

        Raises:
            ValueError: If the grid does not divide the images.
        """
        device = sampling.source_device(generator)
        noise = torch.rand(2, len(images), generator=generator, device=device)
        drawn = (noise[0] * len(self.permutations)).long()
        targets = torch.where(noise[1] < self.bias, drawn, 0).to(images.device)
        orders = self._orders(targets)
        return tiles.permute_tiles(images, orders, self.grid), targets

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of identity and permutations, shape (B, classes)."""
        logits: Tensor = self.head(self.features(inputs))
        return logits

    def restore(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Put the tiles back in their order."""
        orders = tiles.inverse_orders(self._orders(targets))
        return tiles.permute_tiles(inputs, orders, self.grid)

    def _orders(self, targets: Tensor) -> Tensor:
        """Return the permutations of these numbers, on the device of the numbers."""
        return self.permutations[targets.to(self.permutations.device)].to(
            targets.device
        )


def _default_count(grid: int) -> int:
    return min(30, math.factorial(grid**2) - 1)
