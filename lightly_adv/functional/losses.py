"""Losses of classifiers, one value per sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def kl_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return KL(p || q) of the classes that two sets of logits predict.

    p is the softmax of `target`, q that of `logits`. Gradients flow through both;
    detach what is to be held fast. At `target == logits` the divergence has its
    minimum, 0, and no gradient. Classes that `target` rules out, by a logit of -inf,
    contribute 0.

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
    log_p = functional.log_softmax(target.to(wide), dim=1)
    log_q = functional.log_softmax(logits.to(wide), dim=1)
    # 0 * log 0 is 0; computed, it and its gradient would be NaN.
    ruled_out = log_p.isneginf()
    divergence = functional.kl_div(
        log_q.masked_fill(ruled_out, 0),
        log_p.masked_fill(ruled_out, 0),
        log_target=True,
        reduction="none",
    )
    return divergence.masked_fill(ruled_out, 0).sum(dim=1)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return how far the logit of a wrong class is above that of the right one.

    The difference of logits ratio is measured in the spread of the logits, so that it
    does not depend on their scale: (z_t - z_y) / (z_1 - (z_3 + z_4) / 2), where z_1 is
    the largest logit, z_3 and z_4 the next but one and its successor. That takes 4
    classes: with 3 it is divided by z_1 - z_3, with 2 by nothing. Classes that are
    ruled out, by a logit of -inf, do not count; one of them as target means the
    least likely class that is left.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    Args:
        logits: Logits of shape (B, C), of at least two classes.
        labels: The right classes, of shape (B,).
        targets: Another class for each, of shape (B,).

    Returns:
        Tensor of shape (B,), float32 or wider; positive where the target wins over the
        right class.

    Examples:
        >>> logits = torch.tensor([[5.0, 3.0, 2.0, 0.0]])
        >>> targeted_dlr(logits, torch.tensor([0]), torch.tensor([2]))
        tensor([-0.7500])
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    left = wide > -torch.inf
    lowest = wide.where(left, torch.inf).amin(dim=1, keepdim=True)
    wide = wide.where(left, lowest)
    right, target = (
        wide.gather(1, classes[:, None]).squeeze(1) for classes in (labels, targets)
    )
    return (target - right) / _spread(wide, left.sum(dim=1))


def _spread(logits: Tensor, classes: Tensor) -> Tensor | float:
    if logits.shape[1] < 3:
        return 1.0  # the two logits are all there is: their ratio would be constant
    ordered = logits.topk(min(logits.shape[1], 4), dim=1).values
    low = ordered[:, 2:].mean(dim=1)
    return (ordered[:, 0] - low).clamp(min=1e-12).where(classes > 2, 1.0)
