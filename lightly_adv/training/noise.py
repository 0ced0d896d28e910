"""The random numbers of a training batch, apart from the global streams."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator

from lightly_adv.isolation import rng

VALIDATION_SEED = 0
"""Seed of questions and noise in validation, the same ones after every epoch."""


def training_generator(*, rank: int, epoch: int, batch_idx: int) -> Generator:
    """Return a CPU generator for one training batch of one process.

    It is seeded from what `seed_everything` was given and from the place of the batch,
    so runs repeat, and resumed ones go on as if they had not stopped. Nothing is drawn
    from the global random state.

    Args:
        rank: Number of the process, `trainer.global_rank`.
        epoch: `trainer.current_epoch`.
        batch_idx: Number of the batch in the epoch.

    Examples:
        >>> first, again = (
        ...     training_generator(rank=0, epoch=1, batch_idx=7) for _ in range(2)
        ... )
        >>> bool(torch.rand(1, generator=first) == torch.rand(1, generator=again))
        True
    """
    seed = int(os.environ.get("PL_GLOBAL_SEED") or torch.initial_seed())
    return rng.batch_generator(abs(seed), rank, epoch, batch_idx)


def seeds(generator: Generator) -> Callable[[], int]:
    """Return a function that draws one seed after the other, on the CPU."""
    if generator.device.type != "cpu":
        # The host keeps the state of a device, and need not wait to read it.
        state = generator.get_state().numpy().tobytes()
        torch.rand((), generator=generator, device=generator.device)  # goes on
        generator = Generator().manual_seed(zlib.crc32(state))

    def draw() -> int:
        return int(torch.randint(2**31, (), generator=generator))

    return draw


class BatchNoise:
    """The generator of the batch that a module is in, the same for all who ask in it.

    Examples:
        >>> noise = BatchNoise()
        >>> first, again = (
        ...     torch.rand(1, generator=noise.generator(trainer=None, rank=0))
        ...     for _ in range(2)
        ... )
        >>> bool(first == again)  # there is no batch outside of a Trainer
        True
    """

    def __init__(self) -> None:
        self._batch: tuple[int, int] | None = None
        self._generator = Generator()

    def __reduce__(self) -> tuple[type[BatchNoise], tuple[()]]:
        """Copies and pickles of a module begin with no batch."""
        return BatchNoise, ()

    def generator(self, *, trainer: Any, rank: int) -> Generator:
        """Return the CPU generator of the current batch.

        In training it is `training_generator`. Elsewhere it depends on rank and batch
        alone, so that every epoch is validated with the same noise; outside of a
        Trainer it starts from the seed at each call.

        Args:
            trainer: The Trainer that runs, or None.
            rank: Number of the process.
        """
        progress = _progress(trainer)
        if progress is None:
            return rng.batch_generator(VALIDATION_SEED, rank)
        batch = (id(progress), progress.total.ready)
        if batch != self._batch:
            self._batch = batch
            self._generator = _of_batch(trainer, rank, progress.current.ready - 1)
        return self._generator


def _of_batch(trainer: Any, rank: int, batch_idx: int) -> Generator:
    if trainer.training:
        return training_generator(
            rank=rank, epoch=trainer.current_epoch, batch_idx=batch_idx
        )
    return rng.batch_generator(VALIDATION_SEED, rank, batch_idx)


def _progress(trainer: Any) -> Any:
    """Return how far the loop is that a Trainer runs at the moment, if any."""
    if trainer is None:
        return None
    if trainer.training:
        return trainer.fit_loop.epoch_loop.batch_progress
    if trainer.validating or trainer.sanity_checking:
        fitting = trainer.state.fn == "fit"
        loop = (
            trainer.fit_loop.epoch_loop.val_loop if fitting else trainer.validate_loop
        )
        return loop.batch_progress
    return trainer.test_loop.batch_progress if trainer.testing else None
