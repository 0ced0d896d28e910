"""What a step of adversarial training costs, before it is paid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

# A backward pass computes the gradients of activations and of weights, each at about
# the cost of a forward pass; an attack needs the former only.
_FORWARD, _ACTIVATIONS, _WEIGHTS = 1, 1, 1


@dataclass(frozen=True)
class StepCost:
    """How many images go through the network in one training step, and how often.

    Args:
        images: All image views of a batch, as tensors of shape (B, ..., C, H, W).
        attacked: Those of them that are perturbed, and receive a gradient.
        evaluations: How often the attack evaluates the loss.
        streams: How often the step is trained on: 1 for "replace", 2 for "dual".
        independent: Whether each view has an attack of its own.
        unreached: How many more views were selected, and receive no gradient.
        random_start: Whether the attack starts at random. An evaluation in which an
            unreached view carried noise is then made again, in every batch.

    Examples:
        >>> import torch
        >>> views = [torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32)]
        >>> cost = StepCost(views, views, evaluations=5, streams=1)
        >>> cost.forward, cost.backward, round(cost.ratio, 1)
        (96, 96, 4.3)
    """

    images: Sequence[Tensor]
    attacked: Sequence[Tensor]
    evaluations: int
    streams: int
    independent: bool = False
    unreached: int = 0
    random_start: bool = True

    @property
    def forward(self) -> int:
        """Images that go forward: all of them, in every evaluation."""
        return (self.streams + self.runs) * _count(self.images)

    @property
    def backward(self) -> int:
        """Images that go backward: in the attack only those that are perturbed."""
        attack = self._backward_runs * _count(self.attacked)
        return self.streams * _count(self.images) + attack

    @property
    def ratio(self) -> float:
        """About how many times as long as a step of clean training it takes.

        Counts the pixels of every pass, and a backward pass through the weights twice.
        """
        every, attacked = _pixels(self.images), _pixels(self.attacked)
        clean = (_FORWARD + _ACTIVATIONS + _WEIGHTS) * every
        forward = self.runs * _FORWARD * every
        backward = self._backward_runs * _ACTIVATIONS * attacked
        return self.streams + (forward + backward) / clean

    @property
    def runs(self) -> int:
        """How often the loss is evaluated to perturb one batch."""
        if self.independent:  # one evaluation tells of an unreached view
            return len(self.attacked) * self.evaluations + self.unreached
        return self._backward_runs

    @property
    def _backward_runs(self) -> int:
        """How often a gradient is taken with respect to each attacked view."""
        again = self.unreached > 0 and self.random_start and not self.independent
        return self.evaluations + again

    def __str__(self) -> str:
        """Return a sentence for people."""
        sizes = Counter(tuple(view.shape[-2:]) for view in self.images)
        crops = " and ".join(
            f"{count} of {height} x {width} pixels"
            for (height, width), count in sizes.items()
        )
        lacking = f", {self.unreached} without a gradient" if self.unreached else ""
        return (
            f"adversarial training: one step = {self.forward} forward + "
            f"{self.backward} backward image passes, about {self.ratio:.1f} times "
            f"clean training ({self.runs} evaluations of the loss; "
            f"{len(self.attacked)} of {len(self.images)} views attacked{lacking}, "
            f"{crops})."
        )


def _count(views: Sequence[Tensor]) -> int:
    return sum(math.prod(view.shape[:-3]) for view in views)


def _pixels(views: Sequence[Tensor]) -> int:
    return sum(view.numel() // view.shape[-3] for view in views)
