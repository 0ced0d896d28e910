"""How different the gradients of several losses are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RIDGE = 1e-5
"""Added to the diagonal, so that aligned gradients have a finite logarithm."""


def gradient_diversity(grads: Sequence[Tensor], *, ridge: float = RIDGE) -> Tensor:
    """Return the mean over samples of `log det(G^T G + ridge I)`.

    The columns of G are the gradients of one sample, flattened and brought to unit
    length: orthogonal ones give about 0, identical ones a large negative number
    (-21.9 for three). Differentiable.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862
    - [1] Improving Adversarial Robustness via Promoting Ensemble Diversity, 2019,
      https://arxiv.org/abs/1901.08846

    Args:
        grads: Two or more gradients of shape (B, ...), with equally many entries.
        ridge: Number that is added to the diagonal, above 0.

    Returns:
        A scalar of at least single precision.

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
    units = [F.normalize(grad.flatten(1).float(), dim=1, eps=1e-20) for grad in grads]
    columns = torch.stack(units, dim=1)
    # Three numbers decide about the determinant; single precision would blur 1e-5.
    gram = (columns @ columns.mT).double()
    identity = torch.eye(len(grads), dtype=gram.dtype, device=gram.device)
    return torch.logdet(gram + ridge * identity).mean().to(columns.dtype)


def _check(grads: Sequence[Tensor]) -> None:
    if len(grads) < 2:
        raise ValueError(
            f"{len(grads)} gradients; diversity needs at least two to compare."
        )
    sizes = [tuple(grad.flatten(1).shape) for grad in grads]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the gradients have the sizes {sizes} once flattened; expected the same "
            "for all. Tasks that are compared need inputs of one picture size."
        )
