"""Processes of one thread each, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Otherwise glibc returns memory after every batch, only to ask for it again.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
"""Environment of the processes, where it does not say otherwise."""


@contextmanager
def workers(
    count: int, begin: Callable[..., None], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Start processes; after an error or Ctrl-C, end them in the middle of their tasks.

    Args:
        count: How many.
        begin: Called first in each of them.
        *arguments: Its arguments.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(begin, arguments),
    )
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - set(others):
            process.kill()  # Lightning takes SIGTERM, and only ends after a batch
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    begin(*arguments)


def _end_with_parent() -> None:
    """End even in the middle of a task if the first process is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
