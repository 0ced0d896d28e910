"""How fast training goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from lightly_adv.lightning import Callback, pl


class Throughput(Callback):
    """Log how many images per second all processes together train on.

    The value is the mean over the epoch so far, as `images_per_second`. The first
    batch of an epoch, and the first one after a validation, do not count: they wait
    for workers to start or for kernels to be chosen. A batch counts once, however many
    views there are of each image.

    Args:
        name: Key of the logged value.

    Examples:
        >>> trainer = pl.Trainer(
        ...     callbacks=[Throughput()],
        ...     logger=False, enable_checkpointing=False, accelerator="cpu",
        ... )
    """

    def __init__(self, *, name: str = "images_per_second") -> None:
        self.name = name
        self._since: float | None = None
        self._seconds = 0.0
        self._images = 0

    def on_train_epoch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Start again from 0."""
        self._since = None
        self._seconds, self._images = 0.0, 0

    def on_validation_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Stop the clock."""
        self._since = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the batch, and log the mean so far on rank zero."""
        now = time.perf_counter()
        before, self._since = self._since, now
        if before is None:
            return
        self._seconds += now - before
        self._images += batch_size(batch) or 0
        if trainer.is_global_zero and self._seconds > 0:
            pl_module.log(
                self.name,
                self._images * trainer.world_size / self._seconds,
                on_step=True,
                prog_bar=True,
                rank_zero_only=True,
                batch_size=1,
            )


def batch_size(batch: Any) -> int | None:
    """Return the length of the first tensor in a batch; None if there is none.

    Args:
        batch: A tensor, or tensors in nested lists, tuples and dicts.

    Examples:
        >>> import torch
        >>> batch_size(([torch.rand(8, 3, 4, 4), torch.rand(8, 3, 4, 4)], ["a.png"]))
        8
    """
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    if isinstance(batch, Mapping):
        batch = batch.values()
    if isinstance(batch, str) or not isinstance(batch, Iterable):
        return None
    sizes = map(batch_size, batch)
    return next((size for size in sizes if size is not None), None)
