"""Watch which classes a training step hands to a cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_IGNORED = -100
"""The target that cross-entropy ignores by default."""


@dataclass(frozen=True)
class Target:
    """Targets of one cross-entropy.

    Args:
        classes: Number of logits for each sample.
        low: Smallest target.
        high: Largest target.
        labels: Whether the targets are labels of the batch.
    """

    classes: int
    low: int
    high: int
    labels: bool


class TargetError(ValueError):
    """A target is none of the classes."""


@contextmanager
def watched(batch: Any) -> Iterator[list[Target]]:
    """Collect the targets of every cross-entropy inside of the block.

    Raises:
        TargetError: Where a target lies out of range, before it is computed with: on
            a GPU that would end the process.
    """
    watch = _Watch(batch)
    with watch:
        yield watch.seen


class _Watch(TorchFunctionMode):
    def __init__(self, batch: Any) -> None:
        super().__init__()
        leaves = [
            each for each in pytree.tree_leaves(batch) if isinstance(each, Tensor)
        ]
        self._labels = {
            each.data_ptr() for each in leaves if not each.is_floating_point()
        }
        self.seen: list[Target] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func is F.cross_entropy or func is F.nll_loss:
            self._look(*args[:2], **given)
        return func(*args, **given)

    def _look(
        self, input: Any, target: Any, ignore_index: int = _IGNORED, **_: Any
    ) -> None:
        if not isinstance(target, Tensor) or target.is_floating_point():
            return
        kept = target[target != ignore_index]
        if kept.numel() == 0:
            return
        low, high = (int(each) for each in kept.aminmax())
        classes = int(input.shape[1] if input.dim() > 1 else input.shape[0])
        labels = target.data_ptr() in self._labels
        found = Target(classes, low, high, labels)
        if found not in self.seen:
            self.seen.append(found)
        if low < 0 or high >= classes:
            origin = "labels of the batch" if labels else "targets"
            raise TargetError(
                f"the {origin} span [{low}, {high}], but the logits have {classes} "
                f"classes, 0 to {classes - 1}."
            )
