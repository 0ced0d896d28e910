"""Lines about a training that is counted in steps, in growing intervals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lightly_adv.callbacks.throughput import batch_size
from lightly_adv.evaluation.formatting import duration
from lightly_adv.lightning import Callback, pl

FIRST, LONGEST = 5.0, 60.0
"""Seconds to the first line, and from one line to the next at most."""


class ProgressLines(Callback):
    """Write how far training is, some metrics, images per second and the time left.

    The interval between two lines grows from 5 seconds to a minute; the last step has
    one in any case. Metrics are means since the line before.

    Args:
        name: What every line begins with.
        metrics: From the names of logged metrics to the words for them.
        write: Takes a line that ends in a newline; None writes to standard output.
        clock: Returns seconds.

    Examples:
        >>> callback = ProgressLines("mine", {"train_loss": "loss"})
    """

    def __init__(
        self,
        name: str,
        metrics: Mapping[str, str],
        *,
        write: Callable[[str], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self.metrics = metrics
        self.write = write
        self.clock = clock
        self._interval = FIRST
        self._began = self._last = 0.0
        self._images = self._first_step = 0
        self._values: dict[str, list[Tensor]] = {}

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Take the time."""
        self._began = self._last = self.clock()
        self._interval, self._images, self._values = FIRST, 0, {}
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count, and write a line if it is time to."""
        self._images += (batch_size(batch) or 0) * trainer.world_size
        for name in self.metrics:
            value = trainer.callback_metrics.get(name)
            if value is not None:
                # Read when a line is written: a GPU is not waited for before.
                self._values.setdefault(name, []).append(value.detach())
        now = self.clock()
        done = trainer.global_step >= trainer.max_steps
        if trainer.is_global_zero and (now - self._last >= self._interval or done):
            line = self._line(trainer.global_step, trainer.max_steps, now)
            (self.write or sys.stdout.write)(line)
            sys.stdout.flush()
            self._last, self._values = now, {}
            self._interval = min(LONGEST, 1.5 * self._interval)

    def _line(self, step: int, steps: int, now: float) -> str:
        seconds = max(now - self._began, 1e-9)
        left = seconds / max(step - self._first_step, 1) * (steps - step)
        shown = "".join(
            f"  {self.metrics[name]} {float(torch.stack(values).mean()):.3g}"
            for name, values in self._values.items()
        )
        return (
            f"{self.name}: step {step}/{steps}{shown}  "
            f"{self._images / seconds:.3g} images/s  {duration(left)} left\n"
        )
