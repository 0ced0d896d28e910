"""Checkpoints of a run, the last and the best: written whole, read as data."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightly_adv import files
from lightly_adv.callbacks.exact_resume import ExactResume
from lightly_adv.cli import signals
from lightly_adv.cli.signals import Stop
from lightly_adv.lightning import pl, plugins
from lightly_adv.models import save_backbone
from lightly_adv.models.checkpoints import DAMAGED

BEST = {"best-clean": "val_top1", "best-robust": "val_robust_top1"}
"""Checkpoints that are chosen on validation images, and what they are chosen by."""

LAST = "last.ckpt"
"""The checkpoint to resume from."""


def callbacks(folder: Path) -> list[pl.Callback]:
    """Return the callbacks that write checkpoints; they have to come last.

    Args:
        folder: Where to write `last.ckpt`, `best-clean.ckpt` and `best-robust.ckpt`.
    """
    best = [SaveBest(folder / f"{name}.ckpt", monitor=BEST[name]) for name in BEST]
    exact = ExactResume()
    return [*best, exact, SaveLast(folder / LAST, exact=exact)]


def before(path: Path) -> Path:
    """Return where the previous version of a checkpoint is kept.

    Examples:
        >>> before(Path("checkpoints/last.ckpt")).name
        'before-last.ckpt'
    """
    return path.with_name(f"before-{path.name}")


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
        if "weights_only" in reason:  # torch would advise to run it
            reason = "it holds objects that could run code"
        raise ValueError(
            f"{path} is damaged, or no checkpoint of weights alone ({reason}). "
            f"{_what_else(path)}"
        ) from error
    if not (
        isinstance(content, dict) and isinstance(content.get("state_dict"), Mapping)
    ):
        raise ValueError(
            f"{path} has no state_dict; expected a checkpoint that lightly-adv "
            "pretrain or finetune has written."
        )
    return content


def _what_else(path: Path) -> str:
    """Say which checkpoint to take instead, if there is one that can be read."""
    for other in (before(path), path.with_name(LAST)):
        if other != path and other.is_file():
            try:
                torch.load(other, map_location="cpu", weights_only=True, mmap=True)
            except (*DAMAGED, KeyError, TypeError):
                continue
            return f"Take {other}, which is whole, instead."
    return "Take another checkpoint of the run."


class SaveBest(pl.Callback):
    """Write a checkpoint whenever a validation metric reaches a new maximum.

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


class SaveLast(pl.callbacks.Checkpoint):
    """Write the checkpoint to go on from, and end training when a signal asks for it.

    It is written before the first step, after every epoch, after training, within an
    epoch when some time has passed, and when a signal asks to stop; always between two
    steps. The one before is kept. It has to be the last of all callbacks.

    Args:
        path: The file, which is replaced.
        exact: Tells when a checkpoint can be resumed from exactly.
        seconds: How much training a kill may cost. It is more where writing a
            checkpoint would take more than a fiftieth of the time.
        stop: Says whether to stop.
    """

    def __init__(
        self,
        path: Path,
        *,
        exact: ExactResume,
        seconds: float = 60.0,
        stop: Stop = signals.stop,
    ) -> None:
        self.path = path
        self.exact = exact
        self.seconds = seconds
        self.stop = stop
        self._due = 0.0

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Save what training begins with, so that there is something to go on from."""
        self._due = time.monotonic() + self.seconds
        if trainer.ckpt_path is None:
            self._save(trainer)
        self.stop.deferred = True

    def on_train_epoch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Save what the epoch before has come to."""
        if trainer.current_epoch > 0:
            self._save(trainer)
        self.stop.raise_if_asked()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any
    ) -> None:
        """Save if it is time to, or if this is the end."""
        if self.exact.at_rest and (self._is_due(trainer) or self.stop.asked):
            self._save(trainer)
            self.stop.raise_if_asked()

    def on_validation_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Stop immediately: everything was saved before."""
        self.stop.deferred = False
        self.stop.raise_if_asked()

    def on_validation_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Wait for the end of a step again."""
        self.stop.deferred = trainer.state.fn == "fit" and not trainer.sanity_checking

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        exception: BaseException,
    ) -> None:
        """Save nothing: this may be the middle of a step."""
        self.stop.deferred = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what training has come to."""
        self.stop.deferred = False
        self._save(trainer)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        # All processes have to save together, and their clocks differ.
        return bool(trainer.strategy.broadcast(time.monotonic() >= self._due))

    def _save(self, trainer: pl.Trainer) -> None:
        began = time.monotonic()
        trainer.save_checkpoint(self.path)
        now = time.monotonic()
        self._due = now + max(self.seconds, 50 * (now - began))


class WholeFiles(plugins.TorchCheckpointIO):
    """Write checkpoints as a whole or not at all; read them without running code.

    Args:
        keep: Names of files whose previous version is kept.
    """

    def __init__(self, *keep: str) -> None:
        self.keep = keep

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write a file, and keep the one before under another name."""
        path, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint, buffer)
        kept = before(path) if path.name in self.keep else None
        files.replace(path, buffer.getbuffer(), keep=kept)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a file, whatever the environment and the arguments allow it to run.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, or holds weights alone.
        """
        content = read(Path(path))
        lacking = [key for key in _TO_GO_ON if key not in content]
        if lacking:
            raise ValueError(
                f"{path} has no {' and no '.join(lacking)}, which training goes on "
                "from; expected a checkpoint that lightly-adv pretrain or finetune has "
                "written. To begin from weights alone use --model.checkpoint."
            )
        return content


_TO_GO_ON = ("loops", "optimizer_states", "lr_schedulers")
