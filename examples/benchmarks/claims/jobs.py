"""Jobs in phases, on processes of one thread each; what is done is not repeated."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from claims.settings import write

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # glibc hands memory back to the system after every batch and asks for it anew,
    # unless it is told otherwise when a process starts.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


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
        """Do it, note in the file what it took, and return the seconds."""
        torch.set_num_threads(1)
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
    """Lines that say what was done and how long the rest may take."""

    total: float
    done: float = 0.0
    fresh: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    counted: set[Path] = field(default_factory=set)

    def skip(self, job: Job) -> None:
        """Count a job that was done before, which several phases may name."""
        if job.path not in self.counted:
            self.counted.add(job.path)
            self.done += job.cost

    def tell(self, job: Job, seconds: float) -> None:
        """Count a job that has just been done, and print where things stand."""
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
    """Processes that run jobs.

    Args:
        count: How many at a time; None for one per processor, or per GPU.
    """

    def __init__(self, count: int | None = None) -> None:
        os.environ.update({k: os.environ.get(k, v) for k, v in ENVIRONMENT.items()})
        gpus = torch.cuda.device_count()
        count = count or gpus or os.cpu_count() or 1
        context = multiprocessing.get_context("spawn")
        turns = context.SimpleQueue()
        for turn in range(count):
            turns.put(turn % gpus if gpus else None)
        self.pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin, initargs=(turns,)
        )

    def run(self, jobs: Iterable[Job], progress: Progress) -> None:
        """Run what is not done yet, the costliest first; wait for all of it.

        Raises:
            SystemExit: If a job fails; the others that run are waited for.
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
                raise SystemExit(f"{job.name} failed; mend it and go on") from error


def _begin(turns: Any) -> None:
    """Let a worker see one GPU, and end when the first process does, in any way."""
    gpu = turns.get()
    if gpu is not None:
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = given.split(",")[gpu] if given else str(gpu)
        os.environ["CUDA_VISIBLE_DEVICES"] = visible

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
