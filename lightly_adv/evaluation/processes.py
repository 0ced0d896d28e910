"""One evaluation in several processes: each takes its share, all know the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import distributed

from lightly_adv.evaluation.batches import BatchResult
from lightly_adv.processes import rank_and_size

T = TypeVar("T")


def gather(
    own: Mapping[int, BatchResult], digests: Sequence[str], error: Exception | None
) -> list[BatchResult]:
    """Return the results of all batches, in order, in every process.

    Args:
        own: Results by number of the batch, on the CPU.
        digests: What tells the images of each batch from others; of all batches.
        error: What has kept this process from finishing.

    Raises:
        Exception: `error`, if there is one.
        RuntimeError: If another process has not finished.
        ValueError: If the processes were given different images.
    """
    every: list[Any] = [(dict(own), list(digests), repr(error) if error else None)]
    _, size = rank_and_size()
    if size > 1:
        every = every * size
        mine = every[0]
        distributed.all_gather_object(every, mine)
    if error is not None:
        raise error
    failed = {rank: text for rank, (_, _, text) in enumerate(every) if text}
    if failed:
        rank, text = next(iter(failed.items()))
        raise RuntimeError(f"process {rank} could not evaluate its images: {text}")
    if any(each[1] != every[0][1] for each in every):
        raise ValueError(
            "the processes were given different images; give all of them the same "
            "loader, without a DistributedSampler, which repeats images, and without "
            "shuffling. Each process takes its own share of the batches."
        )
    found = {index: result for each in every for index, result in each[0].items()}
    return [found[index] for index in sorted(found)]


def by_the_first(work: Callable[[], T]) -> T:
    """Do some work in the first process only; return its result in all of them.

    Args:
        work: What to do; the others wait for it.

    Raises:
        Exception: What the work raises, in the first process.
        RuntimeError: In the others, if it has raised something.
    """
    rank, size = rank_and_size()
    if size == 1:
        return work()
    found: list[Any] = [None, None]
    raised: Exception | None = None
    if rank == 0:
        try:
            found[0] = work()
        except Exception as error:
            raised = error  # the others have to be told: they wait for this one
            found[1] = repr(error)
    distributed.broadcast_object_list(found, src=0)
    if raised is not None:
        raise raised
    if found[1] is not None:
        raise RuntimeError(f"process 0 could not do the work of all: {found[1]}")
    result: T = found[0]
    return result
