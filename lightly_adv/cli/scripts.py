"""Run a script up to the point where it trains, and no further."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from torch.optim import optimizer

from lightly_adv import lightning
from lightly_adv.doctor import hardware


class ScriptError(Exception):
    """The user's code raised an error, which is the cause of this one."""


class _TrainingError(BaseException):
    """Passes the `except Exception` that a script may have around its training."""


@dataclass
class Run:
    """What came of a script.

    Args:
        module: Its names.
        trainer: The Trainer that it would train with, if there is one.
        model: What it would train.
        data: A loader, a data module, or None.
        options: Options that the Trainer was made with.
        loop: Line of the step of an optimiser that was to be taken without a Trainer.
    """

    module: ModuleType
    trainer: Any = None
    model: Any = None
    data: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    loop: int | None = None


@contextmanager
def run_to_fit(
    path: Path, arguments: Sequence[str] = (), *, name: str = "__main__"
) -> Iterator[Run]:
    """Run a file until it trains; inside of the block its names can be imported.

    Args:
        path: The file. It can import modules from its own folder.
        arguments: Its command line.
        name: Its `__name__`.

    Raises:
        FileNotFoundError: If there is no such file.
        ScriptError: If it raises an error.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file at {path}.")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    beside = [str(path.parent.resolve()), *sys.path]
    with (
        _importable(name, module),
        mock.patch.object(sys, "argv", [str(path), *arguments]),
        mock.patch.object(sys, "path", beside),
    ):
        yield _execute(spec.loader.exec_module, Run(module))


@contextmanager
def _importable(name: str, module: ModuleType) -> Iterator[None]:
    """Let a module be imported by a name; others that are imported meanwhile stay."""
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


def _execute(execute: Callable[[ModuleType], None], run: Run) -> Run:
    """Run the module; what it trains first counts, even if it goes on after that."""
    loops = optimizer.register_optimizer_step_pre_hook(_stop_loop)
    try:
        with hardware.without_gpu(), _stopped_trainers(run):
            execute(run.module)
    except _TrainingError as stopped:
        frames = traceback.extract_tb(stopped.__traceback__)
        own = [each for each in frames if each.filename == run.module.__file__]
        if run.trainer is None:
            run.loop = (own[-1].lineno if own else None) or 0
    except (Exception, SystemExit) as error:
        failed = not isinstance(error, SystemExit) or bool(error.code)
        if failed and run.trainer is None:
            raise ScriptError from error
    finally:
        loops.remove()
    return run


def _stop_loop(*args: Any) -> None:
    raise _TrainingError


@contextmanager
def _stopped_trainers(run: Run) -> Iterator[None]:
    """Let every Trainer remember its options, and stop where it would train."""
    with ExitStack() as stack:
        for trainer in lightning.kinds("Trainer"):
            for name, method in (
                ("__init__", _remembering(trainer.__init__)),
                ("fit", _stopping(trainer.fit, run)),
            ):
                stack.enter_context(mock.patch.object(trainer, name, method))
        yield


def _remembering(make: Callable[..., None]) -> Callable[..., None]:
    # Its signature is what LightningCLI makes options of.
    @functools.wraps(make)
    def remember(self: Any, *args: Any, **options: Any) -> None:
        self._given = options
        try:
            make(self, *args, **options)
        except Exception:
            # What this machine lacks is no error of the script.
            here = hardware.ONE_DEVICE | hardware.replaced(options)
            make(self, *args, **options | here)

    return remember


def _stopping(fit: Callable[..., None], run: Run) -> Callable[..., None]:
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def stop(*args: Any, **options: Any) -> None:
        given = signature.bind(*args, **options).arguments
        if run.trainer is None:
            run.trainer, run.model = given["self"], given["model"]
            data = given.get("datamodule")
            run.data = given.get("train_dataloaders") if data is None else data
            run.options = vars(run.trainer).get("_given", {})
        raise _TrainingError

    return stop
