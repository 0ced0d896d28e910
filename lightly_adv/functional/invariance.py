"""How much an augmentation changes what an image looks like in its batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def matched_log_shares(
    views: Tensor, partners: Tensor, *, temperature: float = 0.5
) -> Tensor:
    """Return how similar each view is to its partner, as log shares in the batch.

    - [0] Enhancing Adversarial Contrastive Learning via Adversarial Invariant
      Regularization, 2023, https://arxiv.org/abs/2305.00374

    Args:
        views: Embeddings of shape (B, D).
        partners: Those of the same images, of the same shape.
        temperature: What cosines are divided by.

    Returns:
        Logarithms of shape (B,), whose exponentials sum to 1.

    Examples:
        >>> matched_log_shares(torch.eye(4), torch.eye(4)).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    wide = torch.promote_types(views.dtype, torch.float32)
    cosines = F.cosine_similarity(views.to(wide), partners.to(wide), dim=1)
    return (cosines / temperature).log_softmax(dim=0)


def invariance_loss(first: Tensor, second: Tensor, *, legacy: bool = False) -> Tensor:
    """Return the divergence KL(second || first) of two sets of shares.

    Args:
        first: Log shares of shape (B,).
        second: Log shares of shape (B,).
        legacy: Put the shares of `first` in the place of their logarithms, as the
            public code does. What is left is near the negative entropy of `second`.

    Returns:
        A scalar.

    Examples:
        >>> shares = torch.tensor([0.25, 0.75])
        >>> invariance_loss(shares.log(), shares.log())
        tensor(0.)
        >>> invariance_loss(shares.log(), shares.log(), legacy=True)
        tensor(-1.1873)
    """
    compared = first.exp() if legacy else first
    return (second.exp() * (second - compared)).sum()
