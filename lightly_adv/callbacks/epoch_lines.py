"""One line per epoch, for logs and for several processes in one terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from torch import Tensor

from lightly_adv.callbacks.robust_validation import RobustValidation
from lightly_adv.lightning import Callback, pl


class EpochLines(Callback):
    """Write the metrics of every epoch after it, as one line of text.

    What was not measured in an epoch, as of validation that does not run in each of
    them, is left out of its line.

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
        self._written: dict[str, Tensor] = {}

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
        metrics = sorted(self._measured(trainer).items())
        shown = "  ".join(f"{name} {_number(float(value))}" for name, value in metrics)
        total = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else "?"
        seconds = time.perf_counter() - self._started
        line = (
            f"{self.name}: epoch {trainer.current_epoch + 1}/{total}  {shown}  "
            f"{seconds:.1f} s\n"
        )
        (self.write or sys.stdout.write)(line)
        sys.stdout.flush()

    def _measured(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Return the metrics that this epoch has measured."""
        logged = dict(trainer.callback_metrics)
        # Lightning keeps the tensor of an old value, and makes one for a new value.
        old = {name for name, x in logged.items() if x is self._written.get(name)}
        old |= {
            callback.name
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if isinstance(callback, RobustValidation)
            and callback.state_dict()["last_epoch"] != trainer.current_epoch
        }
        self._written = logged
        return {name: value for name, value in logged.items() if name not in old}


def _number(value: float) -> str:
    """Write three digits, or all that stand before the decimal point.

    Examples:
        >>> _number(1012.3), _number(99.96), _number(0.00012345)
        ('1012', '100', '0.000123')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
