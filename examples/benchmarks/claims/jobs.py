"""Run jobs on processes of one thread each; finished ones are not repeated."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from claims.settings import write
from lightly_adv.cli.demo.workers import workers


@dataclass
class Job:
    """A call that writes one file; done when the file is there.

    Args:
        name: For people.
        path: The file.
        call: What writes it, a function of a module.
        arguments: For the call.
        cost: Image passes, about.
    """

    name: str
    path: Path
    call: Callable[..., None]
    arguments: dict[str, Any]
    cost: float

    def run(self) -> float:
        """Run it, add its duration to the file, and return the seconds."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        started, used = time.perf_counter(), time.process_time()
        self.call(path=self.path, **self.arguments)
        seconds, used = time.perf_counter() - started, time.process_time() - used
        content = json.loads(self.path.read_text())
        took = {"seconds": seconds, "processor_seconds": used}
        write(self.path, {**content, "job": took})
        return seconds


@dataclass
class Progress:
    """Print what is done, and an estimate of the remaining time."""

    total: float
    done: float = 0.0
    fresh: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    counted: set[Path] = field(default_factory=set)

    def skip(self, job: Job) -> None:
        """Count a job that was done before; several phases may list it."""
        if job.path not in self.counted:
            self.counted.add(job.path)
            self.done += job.cost

    def tell(self, job: Job, seconds: float) -> None:
        """Count a job that has just been done, and print the progress."""
        self.skip(job)
        self.fresh += job.cost
        elapsed = time.perf_counter() - self.started
        left = elapsed / self.fresh * max(self.total - self.done, 0)
        share = min(self.done / self.total, 1.0)
        print(
            f"[{share:4.0%}] {job.name}: {seconds:.0f} s; "
            f"{elapsed / 60:.1f} min so far, about {left / 60:.0f} min left",
            flush=True,
        )


class Workers:
    """Runs jobs on processes.

    Args:
        pool: The processes, see `processes`.
    """

    def __init__(self, pool: Executor) -> None:
        self.pool = pool

    def run(self, jobs: Iterable[Job], progress: Progress) -> None:
        """Run the jobs that are not done yet, the costliest first; wait for all.

        Raises:
            SystemExit: If a job fails; those that have begun are waited for.
        """
        waiting: dict[Future[float], Job] = {}
        for job in sorted(jobs, key=lambda job: -job.cost):
            if job.path.exists():
                progress.skip(job)
            else:
                waiting[self.pool.submit(job.run)] = job
        for future in as_completed(waiting):
            job = waiting[future]
            try:
                progress.tell(job, future.result())
            except Exception as error:
                self.pool.shutdown(cancel_futures=True)
                traceback.print_exception(error)
                raise SystemExit(f"{job.name} failed; fix it and run again") from error


@contextmanager
def processes(count: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Start processes for jobs.

    Args:
        count: How many at a time. Defaults to one per GPU, or per processor.
    """
    gpus = torch.cuda.device_count()
    count = count or gpus or os.cpu_count() or 1
    turns = multiprocessing.get_context("spawn").SimpleQueue()
    for turn in range(count):
        turns.put(turn % gpus if gpus else None)
    with workers(count, _begin, turns) as pool:
        yield pool


def _begin(turns: Any) -> None:
    """Let a process see one GPU, and hide what Lightning says below errors."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    gpu = turns.get()
    if gpu is not None:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = given.split(",")[gpu] if given else str(gpu)
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
