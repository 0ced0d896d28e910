"""A bound on how far clean features may move, held by a learnt multiplier."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightly_adv import processes
from lightly_adv.functional import feature_distances
from lightly_adv.functional.feature_distances import FeatureDistance
from lightly_adv.methods.fidelity import Features


class CleanConstraint(nn.Module):
    """Clean features may move by at most a share of their squared length.

    Trained is `attacked + multiplier * (clean - rho * size)`, with the distances of
    attacked and clean features from those of the teacher and the squared length of the
    latter, image by image, as in LORE [0]. Instead of LORE's network there is one
    multiplier for all images. After every batch its logarithm moves by
    `lr * log(clean / (rho * size))`, with means over the batch, and the second
    logarithm cut off at -1 and 1: it grows while the bound is broken, and shrinks while
    it holds.

    - [0] LORE: Lagrangian-Optimized Robust Embeddings for Visual Encoders, 2025,
      https://arxiv.org/abs/2505.18884

    Args:
        rho: The share, in (0, 1]. No cosine with any direction then moves by more than
            `2 * sqrt(rho)`, as far as the bound holds.
        start: The multiplier at the beginning.
        lr: How fast the logarithm moves.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> constraint = CleanConstraint(rho=0.05)
        >>> constraint.update(torch.tensor(0.2))
        >>> round(constraint.multiplier.item(), 3)
        1.051
    """

    needs_clean = True
    log_multiplier: Tensor

    def __init__(
        self, rho: float = 0.05, *, start: float = 1.0, lr: float = 0.05
    ) -> None:
        super().__init__()
        if not 0 < rho <= 1:
            raise ValueError(
                f"rho={rho} must lie in (0, 1]: it is the share of their squared "
                "length by which clean features may move; 0.05 is usual, and "
                "fidelity=None does without a bound."
            )
        for name, value in (("start", start), ("lr", lr)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be finite and positive.")
        self.rho = rho
        self.lr = lr
        self.register_buffer("log_multiplier", torch.tensor(math.log(start)))

    @property
    def multiplier(self) -> Tensor:
        """The weight of what is above the bound, positive, of shape ()."""
        return self.log_multiplier.exp()

    def loss(self, features: Features, distance: FeatureDistance) -> Tensor:
        """Return the loss of each image, of shape (B,)."""
        attacked = distance(features.attacked, features.target)
        clean = distance(features.moved, features.target)
        allowed = self.rho * feature_distances.size(distance, features.target)
        return attacked + self.multiplier * (clean - allowed)

    def update(self, clean: Tensor) -> None:
        """Move the multiplier, after a batch.

        Args:
            clean: Mean distance of the clean features, relative to the mean size.
                Several processes move by the mean of theirs.
        """
        excess = (processes.mean_of(clean.detach().float()) / self.rho).log()
        self.log_multiplier += self.lr * excess.clamp(-1.0, 1.0)

    def extra_repr(self) -> str:
        """Show the numbers where the module is printed."""
        return f"rho={self.rho}, lr={self.lr}"
