"""Contrastive losses of any number of views."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_losses(
    views: Sequence[Tensor], *, temperature: float = 0.5, detach_keys: bool = False
) -> Tensor:
    """Return the contrastive loss of every ordered pair of views.

    Entry (v, w) is the mean over the images of the cross-entropy with which view v of
    an image finds view w of it among all other embeddings of the batch, further views
    of the same image included. Two views give NT-Xent [0] as the mean of (0, 1) and
    (1, 0), more of them SupCon [1] without labels as the mean of all pairs.

    - [0] A Simple Framework for Contrastive Learning of Visual Representations, 2020,
      https://arxiv.org/abs/2002.05709
    - [1] Supervised Contrastive Learning, 2020, https://arxiv.org/abs/2004.11362

    Args:
        views: V tensors of embeddings, each of shape (B, D). They are normalised here.
        temperature: What cosines are divided by.
        detach_keys: Let gradients flow through the embedding that searches alone, not
            through those that it is compared with.

    Returns:
        Tensor of shape (V, V), float32 or wider, with zeros on the diagonal.

    Raises:
        ValueError: If there are fewer than two views, or if their shapes differ.

    Examples:
        >>> views = [torch.eye(3), torch.eye(3)]
        >>> pair_losses(views, temperature=1.0)
        tensor([[0.0000, 0.9048],
                [0.9048, 0.0000]])
    """
    similarities = _similarities(views, detach_keys=detach_keys) / temperature
    log_shares = similarities.log_softmax(dim=1)
    return _of_same_image(-log_shares, count=len(views)).mean(dim=2)


def mean_of_pairs(losses: Tensor) -> Tensor:
    """Return the mean of a matrix of shape (V, V) without its diagonal.

    Examples:
        >>> mean_of_pairs(torch.tensor([[0.0, 1.0], [3.0, 0.0]]))
        tensor(2.)
    """
    count = len(losses)
    return losses.sum() / (count * (count - 1))


def nt_xent(
    *views: Tensor, temperature: float = 0.5, detach_keys: bool = False
) -> Tensor:
    """Return the mean of `pair_losses` over all pairs.

    For two views it is what `lightly.loss.NTXentLoss` computes.

    Examples:
        >>> nt_xent(torch.eye(3), torch.eye(3), temperature=1.0)
        tensor(0.9048)
    """
    return mean_of_pairs(
        pair_losses(views, temperature=temperature, detach_keys=detach_keys)
    )


def _similarities(views: Sequence[Tensor], *, detach_keys: bool) -> Tensor:
    """Return the cosines of all embeddings (VB, VB), -inf with themselves."""
    shapes = [tuple(view.shape) for view in views]
    if len(shapes) < 2 or len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(
            f"the embeddings have the shapes {shapes}; expected two or more views of "
            "one shape (B, D)."
        )
    embeddings = torch.cat(list(views))
    # In half precision the sums over a batch would lose small terms.
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    queries = F.normalize(wide, dim=1)
    keys = queries.detach() if detach_keys else queries
    same = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    return (queries @ keys.T).masked_fill(same, -torch.inf)


def _of_same_image(values: Tensor, *, count: int) -> Tensor:
    """Return from (VB, VB) the entries of two views of one image: (V, V, B)."""
    batch = len(values) // count
    pairs = values.view(count, batch, count, batch).diagonal(dim1=1, dim2=3)
    itself = torch.eye(count, dtype=torch.bool, device=values.device)
    return pairs.masked_fill(itself[:, :, None], 0.0)
