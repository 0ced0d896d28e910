"""Silence for what a training step would report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

LOG_METHODS = ("log", "log_dict")


class Muted:
    """Stands for a logger or an experiment: takes every call and does nothing."""

    def __getattr__(self, name: str) -> Muted:
        """Return itself, so that chains of attributes and calls work."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Muted:
        """Do nothing."""
        return self


def is_lightning_module(module: nn.Module) -> bool:
    """Whether a module logs as Lightning's modules do."""
    kind = type(module)
    return all(callable(getattr(kind, name, None)) for name in LOG_METHODS)


def silence(*args: Any, **kwargs: Any) -> None:
    """Stand for `log` and `log_dict`."""


@contextmanager
def muted_loggers(module: nn.Module) -> Iterator[None]:
    """Replace the loggers of the trainer that a module, or a part, is attached to."""
    attached = (each.__dict__.get("_trainer") for each in module.modules())
    trainer = next((each for each in attached if each is not None), None)
    loggers = getattr(trainer, "loggers", None)
    if trainer is None or not loggers:
        yield
        return
    trainer.loggers = [Muted() for _ in loggers]
    try:
        yield
    finally:
        trainer.loggers = loggers
