"""Checkpoints of a run: the last one, the best ones, and one when it is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightly_adv.lightning import pl
from lightly_adv.models import save_backbone
from lightly_adv.models.checkpoints import DAMAGED

BEST = {"best-clean": "val_top1", "best-robust": "val_robust_top1"}
"""Checkpoints that are chosen on validation pictures, and what they are chosen by."""


def callbacks(folder: Path) -> list[pl.Callback]:
    """Return the callbacks that write checkpoints; they have to come last.

    Args:
        folder: Where to write `last.ckpt`, `best-clean.ckpt` and `best-robust.ckpt`.
    """
    best = [SaveBest(folder / f"{name}.ckpt", monitor=BEST[name]) for name in BEST]
    # Not save_last=True: beside save_top_k=0 that writes at the end of training only.
    last = pl.callbacks.ModelCheckpoint(
        dirpath=folder, filename="last", enable_version_counter=False
    )
    return [*best, last, SaveOnInterrupt(folder / "last.ckpt")]


def read(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint of Lightning, without running what it may hold.

    Args:
        path: The file.
        mmap: Leave the weights on disk until they are looked at.

    Raises:
        FileNotFoundError: If there is none.
        PermissionError: If it may not be read.
        ValueError: If it is damaged, or something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (FileNotFoundError, PermissionError):
        raise
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or ["it is empty"])[0]
        raise ValueError(
            f"{path} is damaged, or no checkpoint of weights alone ({reason}). Take "
            "another checkpoint of the run."
        ) from error
    if not (
        isinstance(content, dict) and isinstance(content.get("state_dict"), Mapping)
    ):
        raise ValueError(
            f"{path} has no state_dict; expected a checkpoint that lightly-adv "
            "pretrain or finetune has written."
        )
    return content


class SaveBest(pl.Callback):
    """Write a checkpoint whenever a value of validation is higher than ever before.

    Unlike `ModelCheckpoint` it does nothing where the value is not logged.

    Args:
        path: The file, which is replaced.
        monitor: The name that the value is logged under.
    """

    def __init__(self, path: Path, *, monitor: str) -> None:
        self.path = path
        self.monitor = monitor
        self.best = float("-inf")

    @property
    def state_key(self) -> str:
        """Tell the states of several of these callbacks apart."""
        return self._generate_state_key(monitor=self.monitor)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the highest value so far."""
        self.best = state_dict["best"]

    def on_validation_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Compare, and save."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or trainer.state.fn != "fit" or value is None:
            return
        if float(value) > self.best:
            self.best = float(value)
            self.save(trainer, pl_module)

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        trainer.save_checkpoint(self.path)


class SaveBestBackbone(SaveBest):
    """Write the backbone of a module at such times, if it has one."""

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        backbone = getattr(pl_module, "backbone", None)
        if isinstance(backbone, nn.Module) and trainer.is_global_zero:
            save_backbone(backbone, self.path, overwrite=True)


class SaveOnInterrupt(pl.Callback):
    """Write a checkpoint on Ctrl-C, in the middle of an epoch too.

    Args:
        path: The file, which is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        exception: BaseException,
    ) -> None:
        """Save, if it was the user who stopped and there is something to save."""
        if isinstance(exception, KeyboardInterrupt) and trainer.global_step > 0:
            trainer.save_checkpoint(self.path)
