"""The random numbers of a training batch, apart from the global streams."""

from __future__ import annotations

import os

import torch
from torch import Generator

from lightly_adv.isolation import rng


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
