"""Losses of classifiers, one value per sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def kl_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return KL(p || q) of the classes that two sets of logits predict.

    p is the softmax of `target`, q that of `logits`. Gradients flow through both;
    detach what is to be held fast. At `target == logits` the divergence has its
    minimum, 0, and no gradient.

    Args:
        target: Logits of shape (B, C).
        logits: Logits of shape (B, C).

    Returns:
        Tensor of shape (B,), in nats, float32 or wider.

    Raises:
        ValueError: If the shapes differ, or are not (B, C).

    Examples:
        >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
        >>> kl_divergence(p.log(), q.log())
        tensor([0.5108])
    """
    if target.dim() != 2 or target.shape != logits.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)} and logits {tuple(logits.shape)}; "
            "expected the same shape (B, C) of both."
        )
    # In half precision small divergences would be lost, and with them the gradient.
    wide = torch.promote_types(logits.dtype, torch.float32)
    divergence = functional.kl_div(
        functional.log_softmax(logits.to(wide), dim=1),
        functional.log_softmax(target.to(wide), dim=1),
        log_target=True,
        reduction="none",
    )
    return divergence.sum(dim=1)
