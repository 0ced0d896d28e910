"""One line per epoch, for logs and for several processes in one terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytorch_lightning as pl


class EpochLines(pl.Callback):
    """Write the logged metrics after every epoch, as one line of text.

    Where progress bars of several processes would overwrite each other, or where the
    output goes to a file, use it with `Trainer(enable_progress_bar=False)`.

    Args:
        name: What every line begins with.
        write: Takes a line that ends in a newline; None writes to standard output.

    Examples:
        >>> callback = EpochLines("seed 0")
        >>> trainer = pl.Trainer(
        ...     callbacks=[callback], enable_progress_bar=False, accelerator="cpu",
        ...     logger=False, enable_checkpointing=False,
        ... )
    """

    def __init__(
        self, name: str, *, write: Callable[[str], object] | None = None
    ) -> None:
        self.name = name
        self.write = write
        self._started = 0.0

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Take the time: a run resumed within an epoch does not start that epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Take the time."""
        self._started = time.perf_counter()

    def on_train_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Write the line; the metrics of validation are there by now."""
        if not trainer.is_global_zero:
            return
        metrics = sorted(trainer.callback_metrics.items())
        shown = "  ".join(f"{name} {float(value):.3g}" for name, value in metrics)
        total = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else "?"
        seconds = time.perf_counter() - self._started
        line = (
            f"{self.name}: epoch {trainer.current_epoch + 1}/{total}  {shown}  "
            f"{seconds:.1f} s\n"
        )
        (self.write or sys.stdout.write)(line)
        sys.stdout.flush()
