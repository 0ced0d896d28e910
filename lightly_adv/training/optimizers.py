"""The optimiser of our own modules: SGD on one cycle of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

START = 1 / 25
"""Learning rate of the first step, as a share of the highest one."""

END = 1e-4 * START
"""Learning rate after the last step, as a share of the highest one."""


@dataclass(frozen=True)
class OneCycleSGD:
    """SGD with Nesterov momentum; the rate rises, then falls, on cosines.

    - [0] Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
      Rates, 2017, https://arxiv.org/abs/1708.07120 (here with constant momentum)

    Args:
        lr: Highest learning rate.
        weight_decay: Weight decay of all parameters.
        warmup: Share of training over which the rate rises, in [0, 1].
        momentum: Momentum.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> found = OneCycleSGD(lr=0.1).configure(layer.parameters(), total_steps=100)
        >>> round(found["optimizer"].param_groups[0]["lr"], 6)
        0.004
    """

    lr: float = 0.1
    weight_decay: float = 5e-4
    warmup: float = 0.2
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("lr", "weight_decay", "momentum"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value} must be finite and not negative.")
        if not 0 <= self.warmup <= 1:
            raise ValueError(
                f"warmup={self.warmup} is not a share of training in [0, 1]."
            )

    def configure(
        self, parameters: Iterable[nn.Parameter], *, total_steps: float
    ) -> dict[str, Any]:
        """Return what `configure_optimizers` of a LightningModule returns.

        Args:
            parameters: Those that require no gradient are left out.
            total_steps: `trainer.estimated_stepping_batches`.

        Raises:
            ValueError: If training has no end, or if there is nothing to train.
        """
        if not math.isfinite(total_steps):
            raise ValueError(
                f"total_steps={total_steps}: one cycle of the learning rate needs an "
                "end; give the Trainer max_epochs or max_steps."
            )
        trained = [each for each in parameters if each.requires_grad]
        if not trained:
            raise ValueError(
                "no parameter requires a gradient; nothing can be trained."
            )
        optimizer = optim.SGD(
            trained,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
        )
        # Not torch's OneCycleLR: it puts the number of steps into checkpoints, so that
        # a run which is resumed to train for longer ends in an error.
        scheduler = LambdaLR(
            optimizer, lambda step: one_cycle(step / total_steps, warmup=self.warmup)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def one_cycle(progress: float, *, warmup: float) -> float:
    """Return the learning rate as a share of the highest one.

    Args:
        progress: Share of training that is done; from 1 on, the last value.
        warmup: Share of training over which the rate rises.

    Examples:
        >>> one_cycle(0.2, warmup=0.2)
        1.0
    """
    if progress < warmup:
        return _cosine(START, 1.0, progress / warmup)
    if progress >= 1:
        return 1.0 if warmup == 1 else END
    return _cosine(1.0, END, (progress - warmup) / (1 - warmup))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
