"""Prediction heads of the pretext tasks, in the manner of Lightly's own heads."""

from __future__ import annotations

from lightly.models.modules.heads import ProjectionHead


class RotationPredictionHead(ProjectionHead):  # type: ignore[misc]
    """One linear layer from features to the turn that an image was given.

    - [0] Unsupervised Representation Learning by Predicting Image Rotations, 2018,
      https://arxiv.org/abs/1803.07728

    Args:
        input_dim: Number of features of the backbone.
        num_classes: Number of turns to tell apart.

    Examples:
        >>> import torch
        >>> head = RotationPredictionHead(input_dim=512)
        >>> head(torch.rand(2, 512)).shape
        torch.Size([2, 4])
    """

    def __init__(self, input_dim: int, num_classes: int = 4) -> None:
        super().__init__([(input_dim, num_classes, None, None)])


class JigsawPredictionHead(ProjectionHead):  # type: ignore[misc]
    """One linear layer from features to the permutation that tiles went through.

    - [0] Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles,
      2016, https://arxiv.org/abs/1603.09246

    Args:
        input_dim: Number of features of the backbone.
        num_classes: Number of permutations to tell apart, with the identity.

    Examples:
        >>> import torch
        >>> head = JigsawPredictionHead(input_dim=512)
        >>> head(torch.rand(2, 512)).shape
        torch.Size([2, 31])
    """

    def __init__(self, input_dim: int, num_classes: int = 31) -> None:
        super().__init__([(input_dim, num_classes, None, None)])
