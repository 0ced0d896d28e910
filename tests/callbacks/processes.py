"""Functions that run in several processes on the CPU, connected by gloo.

The processes are forked from a server that has imported everything already, and each of
them trains several times: both save most of the time that such tests take.
"""

from __future__ import annotations

import datetime
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeAlias

import torch
from pytorch_lightning.strategies import DDPStrategy

Scenario: TypeAlias = Callable[[int, int], Any]
"""From the rank and the number of processes to a result; a function of a module."""

_SECONDS = 240
"""After which a process that hangs is ended."""


def run(scenarios: list[Scenario], *, count: int, folder: Path) -> list[list[Any]]:
    """Run functions one after the other in several processes that form one group.

    Returns:
        For each scenario, what it returned in each process. An error is returned as
        text, and a process does nothing more after it.
    """
    context = multiprocessing.get_context("forkserver")
    assert isinstance(context, ForkServerContext)
    context.set_forkserver_preload([_module_of(each) for each in scenarios])
    port = _free_port()
    processes = [
        context.Process(target=_work, args=(scenarios, rank, count, port, folder))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=_SECONDS)
        if process.is_alive():
            process.kill()
    return [
        [_load(folder, at, rank) for rank in range(count)]
        for at in range(len(scenarios))
    ]


def strategy(*, find_unused: bool = True) -> DDPStrategy:
    """Return the strategy with which a scenario trains."""
    return DDPStrategy(
        process_group_backend="gloo",
        find_unused_parameters=find_unused,
        timeout=datetime.timedelta(seconds=60),
    )


def _work(
    scenarios: list[Scenario], rank: int, count: int, port: int, folder: Path
) -> None:
    torch.set_num_threads(1)
    for at, scenario in enumerate(scenarios):
        os.environ.update(
            # Lightning takes these for a cluster, and starts no processes itself.
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        try:
            result = scenario(rank, count)
        except Exception:
            torch.save(traceback.format_exc(), _file(folder, at, rank))
            return
        torch.save(result, _file(folder, at, rank))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _module_of(scenario: Scenario) -> str:
    function = scenario.func if isinstance(scenario, partial) else scenario
    return function.__module__


def _load(folder: Path, at: int, rank: int) -> Any:
    file = _file(folder, at, rank)
    return torch.load(file, weights_only=False) if file.exists() else None


def _file(folder: Path, at: int, rank: int) -> Path:
    return folder / f"{at} {rank}.pt"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
