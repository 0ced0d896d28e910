"""Methods that know how strong the augmentation of their views is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightly_adv.functional.schedules import StrengthSchedule
from lightly_adv.lightning import rank_zero_warn


def schedule_of(trainer: Any, period: int) -> StrengthSchedule:
    """Return the schedule of a training.

    Args:
        trainer: The Trainer that runs.
        period: Epochs between two steps.

    Raises:
        ValueError: If the number of epochs is not known, or less than the period.
    """
    epochs = trainer.max_epochs
    if epochs is None or epochs < 1:
        raise ValueError(
            f"the Trainer has max_epochs={epochs}, and the strength of augmentation "
            "falls towards the end of training; give the Trainer max_epochs."
        )
    return StrengthSchedule(epochs=epochs, period=period)


def check(trainer: Any, schedule: StrengthSchedule) -> None:
    """Compare a schedule with those of the transforms that make the views.

    Raises:
        ValueError: If one of them follows another schedule.
    """
    schedules = [each.schedule for each in _transforms(trainer)]
    if not schedules:
        rank_zero_warn(
            "no transform of the training images follows the strength of augmentation; "
            "only the weights of the losses do. Use lightly_adv.data.ContrastiveViews("
            f"strength={schedule})."
        )
    for other in schedules:
        if other != schedule:
            raise ValueError(
                f"the views follow {other} and the method {schedule}; expected the "
                f"same: ContrastiveViews(strength={schedule})."
            )


def set_epoch(trainer: Any) -> None:
    """Tell the transforms of any data loader which epoch it is.

    The data modules of this package tell it with each batch; it is the same epoch.
    """
    for transform in _transforms(trainer):
        transform.set_epoch(trainer.current_epoch)


def _transforms(trainer: Any) -> Iterator[Any]:
    """Yield the transforms of the training data that have a schedule."""
    for loader in _leaves(trainer.train_dataloader):
        dataset = getattr(loader, "dataset", None)
        while dataset is not None:
            transform = getattr(dataset, "transform", None)
            if getattr(transform, "schedule", None) is not None:
                yield transform
            dataset = getattr(dataset, "dataset", None)


def _leaves(loaders: Any) -> Iterator[Any]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if not isinstance(loaders, Sequence):
        yield loaders
        return
    for each in loaders:
        yield from _leaves(each)
