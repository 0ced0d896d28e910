"""The views in a batch, as Lightly's transforms give them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightly_adv.functional import precision


def views_of(batch: Any, count: int | None = None) -> list[Tensor]:
    """Return the views of a batch, each a tensor that autograd can work with.

    A batch is a list of views, or begins with one, as in `(views, labels, names)`.
    A tensor is a single view.

    Args:
        batch: What the data loader gives.
        count: How many views a method takes. Defaults to any number but none.

    Returns:
        Tensors of shape (B, 3, H, W).

    Raises:
        ValueError: If there are more or fewer of them.

    Examples:
        >>> import torch
        >>> views = [torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)]
        >>> [len(view) for view in views_of((views, torch.arange(4)), 2)]
        [4, 4]
    """
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if isinstance(first, list | tuple):
        batch = first
    candidates = batch if isinstance(batch, list | tuple) else [batch]
    views = [x for x in candidates if isinstance(x, Tensor) and x.dim() == 4]
    if not views or count not in (None, len(views)):
        raise ValueError(
            f"the batch has {len(views)} views of each image; expected {count or 1} "
            "tensors (B, 3, H, W) with pixels in [0, 1]. Give the data a transform "
            "that makes them, such as lightly_adv.data.ContrastiveViews, or one of "
            "Lightly's with normalize=None."
        )
    return [precision.normal_tensor(view) for view in views]
