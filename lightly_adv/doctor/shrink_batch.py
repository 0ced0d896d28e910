"""The first images of a batch, where all of them would take too long."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from lightly_adv.doctor.probe import Probe

STEP_SECONDS = 4.0
"""How long a training step may take; if it takes longer, images are left out."""

FEWEST = 8
"""Images of a batch that are kept in any case."""


def shrink_batch(probe: Probe) -> Probe:
    """Leave out images of a batch for which training steps take too long."""
    try:
        size = batch_size(probe.selected.images) or 0
    except Exception:  # of a step that makes the views; checks tell of it
        return probe
    if size <= FEWEST or not _has_samples(probe.batch, size):
        return probe
    seconds = _estimate(probe, size)
    count = max(FEWEST, int(size * STEP_SECONDS / max(seconds, STEP_SECONDS)))
    if count >= size:
        return probe
    batch = first(probe.batch, size=size, count=count)
    return dataclasses.replace(probe, batch=batch, full_size=size)


def batch_size(views: Sequence[Tensor]) -> int | None:
    """Return how many images each view has; None if they have different numbers."""
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


def _has_samples(batch: Any, size: int) -> bool:
    """Whether there is something to cut: submodules may put out more images."""
    return any(
        isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == size
        for leaf in pytree.tree_leaves(batch)
    )


def _estimate(probe: Probe, size: int) -> float:
    """Return how long a step takes, from one on a few images; 0 if that fails."""
    few = first(probe.batch, size=size, count=FEWEST)
    seconds = math.inf
    for _ in range(2):  # the first may be slow for reasons of its own
        try:
            seconds = min(seconds, probe.seconds_of(few) * size / FEWEST)
        except Exception:
            return 0.0
        if seconds < STEP_SECONDS:
            break
    return seconds
