"""Training that leaves nothing behind but the trained module and its history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightly_adv.lightning import pl


@dataclass(frozen=True)
class Training:
    """What came of a training.

    Args:
        trainer: The Trainer.
        validations: Everything that had been logged, after each validation.
        seconds: How long the training took.
    """

    trainer: pl.Trainer
    validations: Sequence[dict[str, float]]
    seconds: float


def fit(
    module: pl.LightningModule,
    train: Any,
    val: Any = None,
    *,
    epochs: int,
    callbacks: Sequence[pl.Callback] = (),
    **options: Any,
) -> Training:
    """Train a module on one device, without logs, checkpoints or a progress bar.

    Args:
        module: The module; it is trained in place.
        train: Training batches, or a data module.
        val: Validation batches, if `train` is not a data module.
        epochs: Number of epochs.
        callbacks: Callbacks of the Trainer.
        **options: Further options of the Trainer.

    Examples:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from lightly_adv.methods import RobustClassifier
        >>> images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
        >>> loader = DataLoader(TensorDataset(images, labels), batch_size=4)
        >>> classifier = RobustClassifier("resnet8_tiny", num_classes=4)
        >>> training = fit(classifier, loader, loader, epochs=2, accelerator="cpu")
        >>> len(training.validations)
        2
    """
    history = _History()
    trainer = pl.Trainer(
        **{
            "max_epochs": epochs,
            "devices": 1,
            "callbacks": [*callbacks, history],
            "num_sanity_val_steps": 0,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )
    started = time.perf_counter()
    trainer.fit(module, train, val)
    return Training(trainer, history.validations, time.perf_counter() - started)


class _History(pl.Callback):
    """Keep what has been logged in every validation."""

    def __init__(self) -> None:
        self.validations: list[dict[str, float]] = []

    def on_validation_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        logged = trainer.callback_metrics.items()
        self.validations.append({name: float(value) for name, value in logged})
