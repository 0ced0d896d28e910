"""Wall-clock time of what a device computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def clock(device: torch.device) -> Iterator[list[float]]:
    """Measure the seconds that a block takes, with what it left to the device."""
    taken: list[float] = []
    _wait(device)
    start = time.perf_counter()
    yield taken
    _wait(device)
    taken.append(time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
