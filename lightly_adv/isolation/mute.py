"""Silence for what a training step would report."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import Any
from unittest import mock

from torch import nn

LOG_METHODS = ("log", "log_dict")

_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath)

_SILENT = {
    "comet_ml": ("log_", "get_global_experiment"),
    "mlflow": ("log_", "set_tag", "active_run"),
    "swanlab": ("log",),
    "trackio": ("log",),
    "wandb": ("log", "run", "summary", "alert", "save", "define_metric"),
}
"""Packages whose functions and runs report; beginnings of their names."""

_WRITERS = {
    "comet_ml.experiment": ("BaseExperiment", "log_"),
    "tensorboardX.writer": ("SummaryWriter", "add_"),
    "torch.utils.tensorboard.writer": ("SummaryWriter", "add_"),
    "wandb.sdk.wandb_run": ("Run", "log"),
}
"""Classes whose objects report wherever they are held; beginnings of their methods."""


class Muted:
    """Stands for a logger or an experiment: tells what it knows and records nothing.

    Plain values, such as names and paths, are those of the real object. All else is
    silent, and calls of it are; what they return is silent, too, and works as a path,
    as a number and as an empty container.

    Args:
        real: The logger; None for what a silent call returned.

    Examples:
        >>> class Logger:
        ...     log_dir = "runs/1"
        ...     def log_metrics(self, metrics): raise RuntimeError
        >>> logger = Muted(Logger())
        >>> logger.log_dir, isinstance(logger, Logger)
        ('runs/1', True)
        >>> with logger.log_metrics({}) as nothing:
        ...     len(nothing)
        0
    """

    def __init__(self, real: Any = None) -> None:
        self.__dict__["_real"] = real

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The class of the real object, for `isinstance`."""
        real = self.__dict__["_real"]
        return Muted if real is None else type(real)

    def __getattr__(self, name: str) -> Any:
        """Return a plain value as it is, and anything else muted."""
        if name.startswith("__"):
            raise AttributeError(name)
        real = self.__dict__["_real"]
        if real is None:
            return Muted()
        return _muted(getattr(real, name))

    def _ignore(self, *args: Any) -> None:
        """Do nothing."""

    __setattr__ = __delattr__ = __setitem__ = __delitem__ = _ignore

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do nothing, but for a method that only reads: `get_...`."""
        real = self.__dict__["_real"]
        if getattr(real, "__name__", "").startswith("get_"):
            return _muted(real(*args, **kwargs))
        return Muted()

    def __enter__(self) -> Muted:
        """Enter nothing."""
        return self

    def __exit__(self, *args: object) -> None:
        """Leave nothing."""

    def __getitem__(self, key: Any) -> Any:
        """Return an item of the real object, muted; silence if there is none."""
        try:
            return _muted(self.__dict__["_real"][key])
        except (TypeError, LookupError):
            return Muted()

    def __len__(self) -> int:
        """Return the length of the real object, 0 if it has none."""
        try:
            return len(self.__dict__["_real"])
        except TypeError:
            return 0

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the real object, muted, or over nothing."""
        try:
            return map(_muted, iter(self.__dict__["_real"]))
        except TypeError:
            return iter(())

    def __contains__(self, item: Any) -> bool:
        """Ask the real object."""
        try:
            return bool(item in self.__dict__["_real"])
        except TypeError:
            return False

    def __bool__(self) -> bool:
        """Ask the real object."""
        return bool(self.__dict__["_real"])

    def __eq__(self, other: object) -> bool:
        """Compare the real objects."""
        mine = self.__dict__["_real"]
        other = vars(other)["_real"] if type(other) is Muted else other
        return self is other or (mine is not None and bool(mine == other))

    def __hash__(self) -> int:
        """Hash as the real object does."""
        real = self.__dict__["_real"]
        return id(self) if real is None else hash(real)

    def __fspath__(self) -> str:
        """Return the folder for temporary files."""
        return tempfile.gettempdir()

    def __str__(self) -> str:
        """Return the text of the real object."""
        real = self.__dict__["_real"]
        return "" if real is None else str(real)

    def __int__(self) -> int:
        """Return 0."""
        return 0

    def __float__(self) -> float:
        """Return 0."""
        return 0.0

    __index__ = __int__

    def _combined(self, *others: Any) -> Muted:
        return Muted()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _combined
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __pow__ = __neg__ = _combined

    def __lt__(self, other: Any) -> bool:
        """Compare as the number 0."""
        return bool(other > 0)

    def __le__(self, other: Any) -> bool:
        """Compare as the number 0."""
        return bool(other >= 0)

    def __gt__(self, other: Any) -> bool:
        """Compare as the number 0."""
        return bool(other < 0)

    def __ge__(self, other: Any) -> bool:
        """Compare as the number 0."""
        return bool(other <= 0)


def _muted(value: Any) -> Any:
    """Return plain values as they are, copies of plain containers, and else silence."""
    if isinstance(value, _PLAIN):
        return value
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(_muted, value))
    if isinstance(value, Mapping) and type(value).__module__ == "builtins":
        return {key: _muted(item) for key, item in value.items()}
    return Muted(value)


def is_lightning_module(module: nn.Module) -> bool:
    """Whether a module logs as Lightning's modules do."""
    kind = type(module)
    return all(callable(getattr(kind, name, None)) for name in LOG_METHODS)


def silence(*args: Any, **kwargs: Any) -> None:
    """Stand for `log` and `log_dict`."""


@contextmanager
def muted(trainers: list[Any]) -> Iterator[None]:
    """Replace the loggers of trainers, and what is known to report without them."""
    with ExitStack() as stack:
        for trainer in trainers:
            loggers = getattr(trainer, "loggers", None)
            if loggers:
                stack.callback(setattr, trainer, "loggers", loggers)
                trainer.loggers = list(map(Muted, loggers))
        for holder, name, value in [*_functions(), *_methods()]:
            stack.enter_context(mock.patch.object(holder, name, value))
        yield


def _functions() -> Iterator[tuple[Any, str, Any]]:
    """What reports in the packages that somebody has imported."""
    for package, beginnings in _SILENT.items():
        module = sys.modules.get(package)
        for name, value in list(vars(module).items()) if module else ():
            reports = callable(value) or not isinstance(value, (*_PLAIN, type(sys)))
            if name.startswith(beginnings) and reports and not isinstance(value, type):
                yield module, name, Muted(value)


def _methods() -> Iterator[tuple[Any, str, Any]]:
    """Methods that report, of classes that somebody has imported."""
    for package, (kind, beginning) in _WRITERS.items():
        writer = getattr(sys.modules.get(package), kind, None)
        for name in list(vars(writer)) if isinstance(writer, type) else ():
            if name.startswith(beginning):
                yield writer, name, silence
