"""Assert that training with a callback ends where it ends without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lightly_adv.isolation import leaks, rng

_LIBRARIES = {"lightly_adv", "lightning", "pytorch_lightning"}

_SHOWN = 10
"""How many differences an error names."""


def assert_trains_the_same(
    fit: Callable[[list[Any]], Any], callback: Any, *, seed: int = 0
) -> None:
    """Assert that a training with a callback ends bit for bit as without it.

    At eps = 0 `AdversarialTraining` changes nothing, whatever the module keeps and
    wherever: what differs is state that the attack could not set aside. Compared are
    all that the module refers to, optimizers and their rates, schedulers, the other
    callbacks, logged metrics and random streams. It trains three times, of which the
    first two, without the callback, tell whether the training repeats at all: a few
    batches are enough.

    In "dual" mode the gradient is a weighted sum of two equal ones: it differs by
    rounding, so this is for "replace", the default.

    Args:
        fit: Makes a new module and a new Trainer with the callbacks that it is given,
            trains, and returns the Trainer.
        callback: The callback, for instance `AdversarialTraining` at eps = 0.
        seed: What the random streams of torch, `random` and NumPy start with; they are
            put back at the end.

    Raises:
        AssertionError: If the training ends elsewhere, with the names of what differs;
            if it takes no step, or does not repeat without the callback.

    Examples:
        >>> import pytorch_lightning as pl
        >>> import torch
        >>> from lightly_adv import PGD, AdversarialTraining, ThreatModel
        >>> class Module(pl.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = nn.Linear(16, 1)
        ...
        ...     def training_step(self, batch, batch_idx):
        ...         return self.layer(batch).square().mean()
        ...
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> def fit(callbacks):
        ...     trainer = pl.Trainer(
        ...         max_epochs=1, accelerator="cpu", callbacks=callbacks, logger=False,
        ...         enable_checkpointing=False, enable_progress_bar=False,
        ...         enable_model_summary=False,
        ...     )
        ...     images = [torch.rand(2, 3, 4, 16) for _ in range(2)]
        ...     loader = torch.utils.data.DataLoader(images, batch_size=None)
        ...     trainer.fit(Module(), loader)
        ...     return trainer
        >>> attack = PGD(ThreatModel(eps=0.0), steps=2)
        >>> assert_trains_the_same(fit, AdversarialTraining(attack))
    """
    plain, again, watched = (
        state_after(fit, callbacks, seed=seed) for callbacks in ([], [], [callback])
    )
    unrepeatable = plain.changes(again)
    assert not unrepeatable, (
        "two trainings without the callback, from the same seeds, end with different "
        f"{_listed(unrepeatable)}: let all that is random follow from the seeds, and "
        "make a new module, new data and a new Trainer in each call."
    )
    changes = plain.changes(watched)
    assert not changes, (
        f"training with {type(callback).__name__} ends with different "
        f"{_listed(changes)}."
    )


def state_after(
    fit: Callable[[list[Any]], Any], callbacks: list[Any], *, seed: int
) -> leaks.Snapshot:
    """Train from a seed, and copy all that the training leaves behind.

    Args:
        fit: As for `assert_trains_the_same`.
        callbacks: Callbacks that are not looked at.
        seed: What the random streams start with.
    """
    with rng.forked(), _deterministic():
        rng.reseed(seed)
        trainer = fit(list(callbacks))
        assert trainer.global_step > 0, (
            f"the training took {trainer.global_step} steps; expected one at least: "
            "fit has to return the Trainer after it trained."
        )
        without = {id(each) for each in callbacks}
        return leaks.snapshot(_Everything(trainer, without))


class _Everything(nn.Module):
    """A module, and what a training keeps outside of it."""

    def __init__(self, trainer: Any, without: set[int]) -> None:
        super().__init__()
        self.module: nn.Module = trainer.lightning_module
        self.beside = _beside(trainer, without)


def _beside(trainer: Any, without: set[int]) -> dict[str, Any]:
    others = [each for each in trainer.callbacks if id(each) not in without]
    return {
        "optimizers": [each.state_dict() for each in trainer.optimizers],
        "schedulers": [each.scheduler for each in trainer.lr_scheduler_configs],
        "callbacks": [vars(each) for each in others if _is_of_the_project(each)],
        "logged": dict(trainer.logged_metrics),
        "steps": trainer.global_step,
    }


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let kernels repeat, and fill memory that is not initialised.

    Lightly's memory banks leave their pointer so where they have no bank.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _is_of_the_project(callback: Any) -> bool:
    """Lightning's and ours show progress and measure times, which never repeat."""
    return type(callback).__module__.partition(".")[0] not in _LIBRARIES


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
