"""Run a script up to the point where it trains, and no further."""

from __future__ import annotations

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


class ScriptError(Exception):
    """The script raised an error, which is the cause of this one."""


@dataclass(frozen=True)
class FitCall:
    """What a script gave to its Trainer.

    Args:
        model: The module.
        data: A loader, a data module, or None.
        options: Options that the Trainer was made with.
    """

    model: Any
    data: Any
    options: dict[str, Any] = field(default_factory=dict)


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

    def __init__(self, call: FitCall | None = None) -> None:
        self.call = call


def _execute(run: Callable[[ModuleType], None], module: ModuleType) -> Run:
    loops = optimizer.register_optimizer_step_pre_hook(_stop_loop)
    try:
        with _stopped_trainers():
            run(module)
    except _TrainingError as stopped:
        line = None if stopped.call else _line(stopped, str(module.__file__))
        return Run(module, stopped.call, line)
    except Exception as error:
        raise ScriptError from error
    except SystemExit as error:
        if error.code:
            raise ScriptError from error
    finally:
        loops.remove()
    return Run(module)


def _line(error: BaseException, file: str) -> int:
    """Return the line of a file that an error came through, 0 if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [each.lineno or 0 for each in frames if each.filename == file]
    return lines[-1] if lines else 0


@contextmanager
def _stopped_trainers() -> Iterator[None]:
    """Let every Trainer remember its options, and stop where it would train."""
    with ExitStack() as stack:
        for trainer in lightning.kinds("Trainer"):
            for name, method in (
                ("__init__", _remembering(trainer.__init__)),
                ("fit", _stop),
            ):
                stack.enter_context(mock.patch.object(trainer, name, method))
        yield


def _remembering(make: Callable[..., None]) -> Callable[..., None]:
    def remember(self: Any, *args: Any, **options: Any) -> None:
        self._given = options
        make(self, *args, **options)

    return remember


def _stop(
    self: Any,
    model: Any,
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    datamodule: Any = None,
    *args: Any,
    **options: Any,
) -> None:
    data = datamodule if datamodule is not None else train_dataloaders
    raise _TrainingError(FitCall(model, data, vars(self).get("_given", {})))


def _stop_loop(*args: Any) -> None:
    raise _TrainingError
