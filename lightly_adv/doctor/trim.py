"""The first pictures of a batch, where all of them would take too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def batch_size(views: Sequence[Tensor]) -> int | None:
    """Return how many pictures each view has; None if they have different numbers."""
    sizes = {len(view) for view in views}
    return sizes.pop() if len(sizes) == 1 else None


def first(batch: Any, *, size: int, count: int) -> Any:
    """Keep the first samples of everything in a batch that has one entry for each.

    Args:
        batch: What a loader yields, in any nesting of lists, tuples and dicts.
        size: Number of samples in it.
        count: Number of samples to keep.

    Examples:
        >>> import torch
        >>> first((torch.zeros(4, 3), ["a", "b", "c", "d"], 4), size=4, count=1)
        (tensor([[0., 0., 0.]]), ['a'], 4)
    """

    def is_names(each: Any) -> bool:
        """One entry per sample; a list of so many views holds tensors."""
        return (
            type(each) in (list, tuple)
            and len(each) == size
            and not pytree.tree_any(lambda leaf: isinstance(leaf, Tensor), each)
        )

    def cut(each: Any) -> Any:
        if is_names(each):
            return each[:count]
        if isinstance(each, Tensor) and each.dim() > 0 and len(each) == size:
            return each[:count]
        return each

    return pytree.tree_map(cut, batch, is_leaf=is_names)
