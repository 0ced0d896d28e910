"""The shapes of things: what a view, an objective and a normalisation are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

from torch import Tensor

Norm: TypeAlias = Literal["Linf", "L2", "L1"]
"""The norm that measures a perturbation, over all dimensions but the first."""

Views: TypeAlias = Sequence[Tensor]
"""Views of one batch, each of shape (B, ..., C, H, W) and a floating dtype."""

Objective: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""From views to the loss that an attack raises: a scalar, or one value per sample."""

NormalizeStats: TypeAlias = Mapping[str, Sequence[float]]
"""Per-channel "mean" and "std", in Lightly's own format (`IMAGENET_NORMALIZE`)."""


class ScopedObjective(Protocol):
    """An objective that needs something in place until its gradient is taken.

    Gradient checkpointing, for instance, calls modules again in the backward pass, and
    must find them as they were in the forward pass.
    """

    def __call__(self, views: Sequence[Tensor], /) -> Tensor:
        """Return the loss; gradients are taken inside of `scope` only."""

    def scope(self) -> AbstractContextManager[Objective]:
        """Return a context that gives a function to evaluate and differentiate."""
