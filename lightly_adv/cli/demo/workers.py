"""One process of one thread per seed, side by side."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from lightly_adv.cli import lightning_messages
from lightly_adv.cli.demo.arms import Seed
from lightly_adv.cli.demo.settings import NAMES, Settings

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # glibc hands memory back after every batch and asks for it anew, unless told
    # otherwise; elsewhere these are ignored.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
"""What the processes are started with."""


class Event(NamedTuple):
    """What a process says: "epoch", "result", "end" or "error"."""

    kind: str
    seed: int
    stage: str
    content: Any


def run_seeds(seeds: Sequence[int], settings: Settings) -> Iterator[Event]:
    """Run all seeds at once and yield what they say, until the last one has ended.

    Raises:
        RuntimeError: If a process fails or dies.
    """
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    processes = [
        context.Process(target=_work, args=(seed, settings, events), daemon=True)
        for seed in seeds
    ]
    with _environment():
        for process in processes:
            process.start()
    try:
        ended = 0
        while ended < len(seeds):
            event = _next(events, processes)
            ended += event.kind == "end"
            yield event
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(seed: int, settings: Settings, events: Any) -> None:
    """Run one seed; what runs in its process."""
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(kind: str, stage: str = "", content: Any = None) -> None:
        events.put(Event(kind, seed, stage, content))

    try:
        torch.set_num_threads(1)
        lightning_messages.hide_harmless()
        worker = Seed(seed, settings, lambda *said: tell("epoch", *said))
        for arm in NAMES:
            tell("result", arm, worker.run(arm))
        tell("end")
    except Exception:
        tell("error", content=traceback.format_exc())


def _end_with_parent() -> None:
    """Do not go on alone if the first process is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _next(events: Any, processes: Sequence[Any]) -> Event:
    while True:
        try:
            event: Event = events.get(timeout=1)
        except queue.Empty:
            dead = [process.exitcode for process in processes if process.exitcode]
            if dead:
                raise RuntimeError(
                    f"a process of the demo died with exit code {dead[0]}; is there "
                    "enough memory?"
                ) from None
            continue
        if event.kind == "error":
            raise RuntimeError(f"seed {event.seed} failed:\n{event.content}")
        return event


@contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
