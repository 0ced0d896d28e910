"""What attacks on an encoder raise: one value per image, without a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lightly_adv.evaluation.encoders import distances
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.evaluation.encoders.neighbors import NeighborBank
from lightly_adv.types import Views


@dataclass(frozen=True, eq=False)
class EmbeddingDistance:
    """How far the embeddings of the images are from given ones.

    Raised with the clean embeddings, it is the untargeted attack of [0]. At the clean
    image it has no gradient: the attack needs a random start.

    - [0] Robustness of Unsupervised Representation Learning without Labels, 2022,
      https://arxiv.org/abs/2210.04076

    Args:
        encoder: Maps images (B, C, H, W) to embeddings (B, D).
        embeddings: What to get away from, of shape (B, D).
        distance: What is measured. "l2" is raised as its square.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
        >>> images = torch.rand(2, 3, 2, 2)
        >>> objective = EmbeddingDistance(encoder, encoder(images).detach())
        >>> perturbed, = PGD(ThreatModel(eps=0.1))(objective, [images])
        >>> bool((objective([perturbed]) > 0).all())
        True
    """

    encoder: Callable[[Tensor], Tensor]
    embeddings: Tensor
    distance: Distance = "cosine"

    def __post_init__(self) -> None:
        """Validate the arguments."""
        distances.check(self.distance)

    def __call__(self, views: Views) -> Tensor:
        """Return the distance of every image, of shape (B,)."""
        embeddings = self.encoder(views[0])
        if self.distance == "l2":
            # Without the root, whose gradient is undefined at zero.
            return (embeddings - self.embeddings).square().sum(dim=1)
        return distances.between(embeddings, self.embeddings)


@dataclass(frozen=True, eq=False)
class MatchEmbedding(EmbeddingDistance):
    """How near the embeddings of the images are to given ones, as a negative number.

    Raised with the embeddings of other images, it is the targeted attack of the
    paper, by which an image is to pass for another.

    See `EmbeddingDistance` for the arguments; `embeddings` is what to get to.

    Examples:
        >>> import torch
        >>> objective = MatchEmbedding(torch.nn.Flatten(), torch.ones(1, 12), "l2")
        >>> objective([torch.zeros(1, 3, 2, 2)])
        tensor([-12.])
    """

    def __call__(self, views: Views) -> Tensor:
        """Return minus the distance of every image, of shape (B,)."""
        return -super().__call__(views)


@dataclass(frozen=True, eq=False)
class KNNCrossEntropy:
    """The cross-entropy of the vote of a bank, one value per image.

    Args:
        encoder: Maps images (B, C, H, W) to embeddings (B, D).
        bank: The embeddings, all of which vote; see `NeighborBank.class_log_scores`.
        labels: The right classes, of shape (B,).
    """

    encoder: Callable[[Tensor], Tensor]
    bank: NeighborBank
    labels: Tensor

    def __call__(self, views: Views) -> Tensor:
        """Return the loss of every image, of shape (B,)."""
        votes = self.bank.class_log_scores(self.encoder(views[0]))
        return F.cross_entropy(votes, self.labels, reduction="none")
