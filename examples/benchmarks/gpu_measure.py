"""What the sections of `gpu.py` measure with: time, memory, and what is waited for."""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import interleaved
import torch

SYNCHRONISATIONS = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "Memcpy DtoH",
)
"""Beginnings of names in a profile, of what makes the host wait for the device."""

WARM = 4
"""Runs until a backend has compared its attack with an eager one and is used."""

START = 12.0
"""Seconds that a process takes until it begins to measure."""


@dataclass(frozen=True)
class Setting:
    """Where, how much and for how long.

    Args:
        device: "cuda" or "cpu".
        small: Tiny networks and batches, one round.
        budget: Seconds of the section.
    """

    device: str
    small: bool
    budget: float
    began: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds of the section that are left."""
        return self.budget - START - (time.perf_counter() - self.began)

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def steps(self) -> int:
        return 2 if self.small else 10

    @property
    def rounds(self) -> int:
        return 1 if self.small else 11

    def clock(self) -> float:
        """Return seconds, when all that was queued is done."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


class Record:
    """Prints rows, and appends them to a file as they come, one JSON object a line."""

    def __init__(self, path: Path, *, section: str) -> None:
        self.path, self.section = path, section
        path.touch()

    def row(self, name: str, **values: Any) -> None:
        """Write what was measured."""
        self._write({"section": self.section, "name": name, **values})

    def skip(self, name: str, reason: str) -> None:
        """Write why something was not measured."""
        self._write({"section": self.section, "name": name, "reason": reason})

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Go on after an error, and write it down."""
        try:
            yield
        except Exception as error:  # of compilers, of drivers, of other packages
            message = str(error).strip().splitlines() or [""]
            self.skip(name, f"{type(error).__name__}: {message[0][:300]}")

    def _write(self, row: Mapping[str, Any]) -> None:
        row = {key: rounded(value) for key, value in row.items()}
        section, name, *rest = row.values()
        keys = list(row)[2:]
        values = ", ".join(f"{k} {v}" for k, v in zip(keys, rest, strict=True))
        print(f"{section}: {name}: {values}", flush=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def rounded(value: Any) -> Any:
    """Return numbers with four digits that count."""
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def warm_up(run: interleaved.Run, times: int) -> dict[str, Any]:
    """Run until everything is compiled or captured; return what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            run()
    messages = {
        str(each.message) for each in caught if "attack_backend" in str(each.message)
    }
    return {"fell_back": sorted(messages)} if messages else {}


def fitting_batch(
    setting: Setting, run: Callable[[int], object], batch: int, *, limit: float
) -> int:
    """Halve a batch until it fits into memory, and its run into `limit` seconds."""
    while True:
        try:
            run(batch)  # warms up
            start = setting.clock()
            run(batch)
            if setting.clock() - start <= limit or batch == 1:
                return batch
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            torch.cuda.empty_cache()
        batch //= 2


@contextmanager
def profiled(setting: Setting) -> Iterator[dict[str, Any]]:
    """Fill in what the host waited for meanwhile, and the peak memory."""
    found: dict[str, Any] = {}
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if setting.cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    with torch.profiler.profile(activities=kinds) as profiler:
        yield found
    found["host_reads"] = {
        event.key: event.count
        for event in profiler.key_averages()
        if event.key.startswith(SYNCHRONISATIONS)
    }
    if setting.cuda:
        peak = torch.cuda.max_memory_allocated()
        found["peak_mib"] = peak / 2**20
        found["peak_of_the_run_mib"] = (peak - before) / 2**20


def timing(seconds: list[float], images: int) -> dict[str, Any]:
    """Return the quartiles of a measurement, and the images per second of it."""
    low, median, high = interleaved.quartiles(seconds)
    return {
        "images": images,
        "rounds": len(seconds),
        "seconds": [low, median, high],
        "images_per_second": images / median,
    }


def rated(seconds: list[float], base: float) -> float:
    return statistics.median(seconds) / base
