"""Step sizes that shrink where an ascent makes no progress."""

from __future__ import annotations

import torch
from torch import Tensor

RISES_EXPECTED = 0.75
"""Share of the steps between two checkpoints that should raise the loss."""


def checkpoints(steps: int) -> list[int]:
    """Return after which steps the progress is looked at.

    The first time after 22 % of the steps; every time later comes 3 % sooner than the
    one before, but not sooner than after 6 %.

    Examples:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    # In whole percents, as 0.41 * 100 is not 41 in floating point.
    percents = [0, 22]
    while percents[-1] < 100:
        period = percents[-1] - percents[-2]
        percents.append(percents[-1] + max(period - 3, 6))
    return sorted({-(-p * steps // 100) for p in percents[1:] if p <= 100})


class StepControl:
    """Halves the step size of every sample for itself, as APGD does.

    At a checkpoint the step size of a sample is halved if too few steps since the last
    one have raised its loss, or if its step size was not halved then and its best loss
    is still the same.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    Args:
        losses: The losses at the start, of shape (B,).
        steps: How many steps there will be.
        step_size: Length of the first step.

    Examples:
        >>> control = StepControl(torch.zeros(2), steps=2, step_size=0.4)
        >>> control.observe(torch.tensor([1.0, -1.0]))
        tensor([ True, False])
        >>> control.halve(1)
        tensor([False,  True])
        >>> control.step_size
        tensor([0.4000, 0.2000])
    """

    def __init__(self, losses: Tensor, *, steps: int, step_size: float) -> None:
        self.step_size = torch.full_like(losses, step_size)
        self.best = losses
        self._last = losses
        self._best_before = losses
        self._rises = torch.zeros_like(losses)
        self._halved = torch.zeros_like(losses, dtype=torch.bool)
        self._checkpoint = 0
        self._checkpoints = checkpoints(steps)

    def observe(self, losses: Tensor) -> Tensor:
        """Take note of the losses after a step; return which are the best so far."""
        self._rises = self._rises + (losses > self._last)
        self._last = losses
        better = losses > self.best
        self.best = torch.where(better, losses, self.best)
        return better

    def halve(self, step: int) -> Tensor | None:
        """Return who goes on from its best point with half the step size.

        Args:
            step: The number of the step that was observed last, from 1.

        Returns:
            Tensor of bool of shape (B,), or None if this is no checkpoint.
        """
        if step not in self._checkpoints:
            return None
        stalls = self._rises < RISES_EXPECTED * (step - self._checkpoint)
        stuck = ~self._halved & (self.best == self._best_before)
        self._halved = stalls | stuck
        self.step_size = torch.where(self._halved, self.step_size / 2, self.step_size)
        self._last = torch.where(self._halved, self.best, self._last)
        self._best_before = self.best
        self._rises = torch.zeros_like(self._rises)
        self._checkpoint = step
        return self._halved

    def keep(self, index: Tensor) -> None:
        """Forget all samples but these."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[index])
