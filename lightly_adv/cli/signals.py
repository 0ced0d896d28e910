"""Ctrl-C, SIGTERM and SIGHUP: one way to end, for all commands and their workers."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

ENDING = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]
"""Signals that ask a command to end."""

_PR_SET_PDEATHSIG = 1


class Stopped(KeyboardInterrupt):
    """A signal has asked the command to end."""


class Stop:
    """Whether a command has been asked to end, and whether it may finish its step.

    The first signal raises `Stopped`, or waits while `deferred`; a second one never
    waits.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.number: int | None = None

    def forget(self) -> None:
        """Reset, for another command in the same process."""
        self.deferred, self.number = False, None

    @property
    def asked(self) -> bool:
        """Whether there was a signal."""
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """What a shell calls the end by this signal: 130 for Ctrl-C."""
        return 128 + (self.number or signal.SIGINT)

    def raise_if_asked(self) -> None:
        """Raise what the signal would have raised without `deferred`."""
        if self.asked:
            raise Stopped

    def handle(self, number: int, frame: Any = None) -> None:
        """Take a signal."""
        waits = self.deferred and not self.asked
        self.number = number
        if not waits:
            raise Stopped


stop = Stop()
"""That of this process."""


@contextmanager
def listening() -> Iterator[Stop]:
    """Take signals as long as this lasts, and end the processes begun meanwhile.

    A signal that is ignored, as by nohup, stays ignored.
    """
    stop.forget()
    others = multiprocessing.active_children()
    before = _take_signals()
    _let_children_follow()
    try:
        yield stop
    finally:
        _Following.active = False
        _end_children(others)
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_signals() -> dict[int, Any]:
    """Handle the signals; return what handled them before, and may again."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop.handle)
    return before


def _end_children(others: Sequence[Any]) -> None:
    """Kill the workers: nothing reads what they load any more."""
    children = [
        each for each in multiprocessing.active_children() if each not in others
    ]
    if not children:
        return
    # Torch would raise an error for each worker that dies.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        child.kill()
        child.join()
    signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


class _Following:
    active = False
    registered = False


def _let_children_follow() -> None:
    """Let the kernel end the processes that are forked from now on with this one."""
    _Following.active = True
    if sys.platform == "linux" and not _Following.registered:
        os.register_at_fork(after_in_child=_follow_parent)
        _Following.registered = True


def _follow_parent() -> None:
    if not _Following.active:
        return
    # A terminal and a job scheduler signal all processes; the first ends the others.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
