"""How different the gradients of several losses are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RIDGE = 1e-5
"""Added to the diagonal, so that aligned gradients have a finite logarithm."""

TINY = 1e-20
"""Gradients shorter than this are not brought to unit length, but fade to zero."""


def gradient_diversity(grads: Sequence[Tensor], *, ridge: float = RIDGE) -> Tensor:
    """Return the mean over samples of `log det(G^T G + ridge I)`.

    The columns of G are the gradients of one sample, flattened and brought to unit
    length: orthogonal ones give about 0, identical ones a large negative number
    (-21.9 for three). A gradient of zeros counts as one that is aligned with others.
    Differentiable. Autocast is off inside: half precision would drown the ridge.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862
    - [1] Improving Adversarial Robustness via Promoting Ensemble Diversity, 2019,
      https://arxiv.org/abs/1901.08846

    Args:
        grads: Two or more gradients of shape (B, ...), with equally many entries.
        ridge: Number that is added to the diagonal, above 0.

    Returns:
        A scalar, in single precision, or in double where all gradients are.

    Raises:
        ValueError: If there are fewer than two gradients, or if their sizes differ.

    Examples:
        >>> left, right = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
        >>> round(gradient_diversity([left, right]).item(), 3)
        0.0
        >>> round(gradient_diversity([left, left]).item(), 3)
        -10.82
    """
    _check(grads)
    with torch.autocast(grads[0].device.type, enabled=False):
        units = [F.normalize(_wide(grad), dim=1, eps=TINY) for grad in grads]
        columns = torch.stack(units, dim=1)
        gram = columns @ columns.mT
        # A determinant of 1e-10 does not survive single precision, and there is no
        # other on Apple's devices.
        gram = (gram.cpu() if gram.device.type == "mps" else gram).double()
        identity = torch.eye(len(grads), dtype=gram.dtype, device=gram.device)
        found = torch.logdet(gram + ridge * identity).mean()
    return found.to(columns.device, columns.dtype)


def _wide(grad: Tensor) -> Tensor:
    """Return a gradient as (B, entries), in single precision or wider."""
    return grad.flatten(1).to(torch.promote_types(grad.dtype, torch.float32))


def _check(grads: Sequence[Tensor]) -> None:
    if len(grads) < 2:
        raise ValueError(
            f"{len(grads)} gradients; diversity needs at least two to compare."
        )
    sizes = [tuple(grad.flatten(1).shape) for grad in grads]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the gradients have the sizes {sizes} once flattened; expected the same "
            "for all. Tasks that are compared need inputs of one image size."
        )
