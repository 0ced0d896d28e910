"""Run a script up to the point where it trains, and no further."""

from __future__ import annotations

import functools
import importlib.util
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
    """The script raised an error, which is the cause of this one."""


@dataclass(frozen=True)
class FitCall:
    """What a script gave to its Trainer.

    Args:
        model: The module.
        data: A loader, a data module, or None.
        options: Options that the Trainer was made with.
        trainer: The Trainer.
    """

    model: Any
    data: Any
    options: dict[str, Any] = field(default_factory=dict)
    trainer: Any = None


@dataclass(frozen=True)
class Run:
    """A script that was run.

    Args:
        module: Its names.
        call: The call of `Trainer.fit` that ended it, if there was one.
        loop: Line at which a step of an optimiser ended it, if one did.
    """

    module: ModuleType
    call: FitCall | None = None
    loop: int | None = None


@contextmanager
def run_to_fit(
    path: Path, arguments: Sequence[str] = (), *, name: str = "__main__"
) -> Iterator[Run]:
    """Run a file until it trains; inside of the block its names can be imported.

    Args:
        path: The file. What lies beside it can be imported by it.
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
        _known(name, module),
        mock.patch.object(sys, "argv", [str(path), *arguments]),
        mock.patch.object(sys, "path", beside),
    ):
        yield _execute(spec.loader.exec_module, module)


@contextmanager
def _known(name: str, module: ModuleType) -> Iterator[None]:
    """Let a module be imported by a name; others that are imported meanwhile stay."""
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        yield
    finally:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before


class _TrainingError(BaseException):
    """Passes the `except Exception` that a script may have around its training."""


def _execute(run: Callable[[ModuleType], None], module: ModuleType) -> Run:
    loops = optimizer.register_optimizer_step_pre_hook(_stop_loop)
    calls: list[FitCall] = []
    line: int | None = None
    try:
        with hardware.without_gpu(), _stopped_trainers(calls):
            run(module)
    except _TrainingError as stopped:
        line = _line(stopped, str(module.__file__))
    except (Exception, SystemExit) as error:
        failed = not isinstance(error, SystemExit) or bool(error.code)
        if failed and not calls:
            raise ScriptError from error
    finally:
        loops.remove()
    # A script may catch everything and go on; what it has trained first counts.
    return Run(module, calls[0]) if calls else Run(module, loop=line)


def _line(error: BaseException, file: str) -> int:
    """Return the line of a file that an error came through, 0 if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [each.lineno or 0 for each in frames if each.filename == file]
    return lines[-1] if lines else 0


@contextmanager
def _stopped_trainers(calls: list[FitCall]) -> Iterator[None]:
    """Let every Trainer remember its options, and stop where it would train."""
    with ExitStack() as stack:
        for trainer in lightning.kinds("Trainer"):
            for name, method in (
                ("__init__", _remembering(trainer.__init__)),
                ("fit", _stopping(trainer.fit, calls)),
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
            # What this machine has not got is no error of the script.
            here = hardware.ONE_DEVICE | hardware.replaced(options)
            make(self, *args, **options | here)

    return remember


def _stopping(fit: Callable[..., None], calls: list[FitCall]) -> Callable[..., None]:
    @functools.wraps(fit)
    def stop(
        self: Any,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        *args: Any,
        **options: Any,
    ) -> None:
        data = datamodule if datamodule is not None else train_dataloaders
        calls.append(FitCall(model, data, vars(self).get("_given", {}), self))
        raise _TrainingError

    return stop


def _stop_loop(*args: Any) -> None:
    raise _TrainingError
