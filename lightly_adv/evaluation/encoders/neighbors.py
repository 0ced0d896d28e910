"""Classification by the nearest images of a bank, and an attack on the vote."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NeighborBank:
    """Embeddings with labels, which vote for the class of others.

    The k nearest ones by cosine vote, each with the weight `exp(cosine / temperature)`,
    as in [0] and in Lightly's `knn_predict`.

    - [0] Unsupervised Feature Learning via Non-Parametric Instance-level
      Discrimination, 2018, https://arxiv.org/abs/1805.01978

    Args:
        embeddings: Embeddings of shape (N, D), of any length.
        labels: Their classes, of shape (N,).
        k: How many vote.
        temperature: How much the nearest ones outweigh the others.

    Raises:
        ValueError: If there are fewer than k embeddings, or fewer than two classes, or
            if a number is out of range.

    Examples:
        >>> bank = NeighborBank(torch.eye(3), torch.tensor([0, 1, 1]), k=2)
        >>> bank.predict(torch.tensor([[0.0, 0.1, 0.2], [1.0, 0.1, 0.0]]))
        tensor([1, 0])
    """

    embeddings: Tensor
    labels: Tensor
    k: int = 200
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Validate the arguments."""
        check_vote(self.k, self.temperature)
        if len(self.labels) < self.k:
            raise ValueError(
                f"the bank has {len(self.labels)} images, but k={self.k} of them are "
                f"to vote; give a larger bank, or k={max(1, len(self.labels) // 10)}."
            )
        present = len(set(self.labels.tolist()))
        if present < 2:
            raise ValueError(
                f"the images of the bank are of {present} class; expected at least "
                "two, or every image is classified correctly. Is the loader sorted "
                "by class and cut off by max_bank?"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes: the highest label, plus one."""
        return int(self.labels.max()) + 1

    @cached_property
    def _directions(self) -> Tensor:
        return F.normalize(self.embeddings, dim=1)

    def predict(self, embeddings: Tensor) -> Tensor:
        """Return the class (B,) that the nearest ones vote for."""
        near, places = self._cosines(embeddings).topk(self.k, dim=1)
        weights = ((near - 1) / self.temperature).exp()
        votes = weights.new_zeros(len(weights), self.num_classes)
        return votes.scatter_add(1, self.labels[places], weights).argmax(dim=1)

    def class_log_scores(self, embeddings: Tensor) -> Tensor:
        """Return the logarithms (B, classes) of the votes of the whole bank.

        All images of the bank vote, not only the nearest ones: an attack is then led
        also to classes that are not among these yet.
        """
        scaled = self._cosines(embeddings) / self.temperature
        index = self.labels.expand_as(scaled)
        # Below all that can be, so that a class without images never wins.
        lowest = scaled.new_full((len(scaled), self.num_classes), -2 / self.temperature)
        top = lowest.scatter_reduce(1, index, scaled.detach(), "amax")
        votes = torch.zeros_like(top).scatter_add(
            1, index, (scaled - top.gather(1, index)).exp()
        )
        tiny = torch.finfo(votes.dtype).tiny
        return top + votes.clamp_min(tiny).log()

    def _cosines(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, dim=1) @ self._directions.mT


def check_vote(k: int, temperature: float) -> None:
    """Validate the numbers of a vote.

    Raises:
        ValueError: If one is out of range.
    """
    if k < 1:
        raise ValueError(f"k={k} is too small; expected at least 1 neighbour.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(
            f"temperature={temperature} must be finite and positive, such as 0.1."
        )
