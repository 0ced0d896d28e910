"""Processes that train or evaluate together, and what they have to agree on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process and how many there are; (0, 1) for one.

    Examples:
        >>> rank_and_size()
        (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def count() -> int:
    """Return how many processes work together.

    Examples:
        >>> count()
        1
    """
    return rank_and_size()[1]


def all_of(flags: Sequence[bool], *, device: torch.device) -> list[bool]:
    """Return which flags are set in every process; each has to call it.

    Args:
        flags: As many in each process.
        device: Where the processes talk to each other.

    Examples:
        >>> all_of([True, False], device=torch.device("cpu"))
        [True, False]
    """
    if count() == 1:
        return list(flags)
    both = torch.tensor(list(flags), dtype=torch.int32, device=device)
    distributed.all_reduce(both, op=distributed.ReduceOp.MIN)
    return [bool(flag) for flag in both.tolist()]


def mean_of(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a number over all processes; each has to call it.

    Examples:
        >>> mean_of(torch.tensor(2.0))
        tensor(2.)
    """
    if count() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / count()
