"""Lightning under both of its names, `pytorch_lightning` and `lightning.pytorch`.

The two packages hold the same code, but each has classes of its own, and a Trainer of
one takes no module of the other. Callbacks of this package are callbacks of both. Its
modules, data modules and commands are of the first one that is installed, `pl`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lightning_utilities.core import rank_zero
from lightning_utilities.core.rank_zero import rank_zero_info as rank_zero_info
from lightning_utilities.core.rank_zero import rank_zero_only as rank_zero_only
from lightning_utilities.core.rank_zero import rank_zero_warn as rank_zero_warn

NAMES = ("pytorch_lightning", "lightning.pytorch")
"""The names, the one that Lightly uses first."""

LOGGERS = (*NAMES, "lightning_fabric", "lightning.fabric")
"""Where Lightning writes."""

_PARTS = ("callbacks", "cli", "loggers", "plugins", "utilities")


def _installed() -> tuple[ModuleType, ...]:
    """Import what there is.

    Raises:
        ImportError: If there is neither.
    """
    # Both direct what they say on rank zero to a logger of their own name when they are
    # imported; where the user has imported one already, that one goes on.
    log = rank_zero.log if any(name in sys.modules for name in NAMES) else None
    found: list[ModuleType] = []
    error: Exception | None = None
    for name in reversed(NAMES):
        try:
            found.insert(0, importlib.import_module(name))
        except Exception as raised:  # one that is broken is as good as none
            error = raised
    if not found:
        raise ImportError(
            f"neither {' nor '.join(NAMES)} can be imported ({error}); "
            "pip install pytorch_lightning."
        ) from error
    rank_zero.log = log or rank_zero.log
    return tuple(found)


NAMESPACES = _installed()
"""The packages that are installed."""

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning import Callback as Callback
    from pytorch_lightning import callbacks as callbacks
    from pytorch_lightning import cli as cli
    from pytorch_lightning import loggers as loggers
    from pytorch_lightning import plugins as plugins
    from pytorch_lightning import utilities as utilities

    __all__ = ["pl"]
else:
    pl = NAMESPACES[0]

    class Callback(*(each.Callback for each in NAMESPACES)):
        """A callback for the Trainers of both."""

    def __getattr__(name: str) -> ModuleType:
        """Import a part of `pl` where it is asked for."""
        if name not in _PARTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
        return importlib.import_module(f"{pl.__name__}.{name}")


def attribute(namespace: ModuleType, name: str) -> Any:
    """Return what a namespace has under a name.

    Args:
        namespace: One of the packages.
        name: The name, behind those of modules within the package if there are any.
    """
    place, _, last = name.rpartition(".")
    inside = f".{place}" if place else ""
    return getattr(importlib.import_module(f"{namespace.__name__}{inside}"), last)


def kinds(name: str) -> tuple[Any, ...]:
    """Return a class as each namespace has it, by a name as for `attribute`.

    Examples:
        >>> [each.__name__ for each in kinds("LightningModule")][0]
        'LightningModule'
    """
    return tuple(attribute(each, name) for each in NAMESPACES)


def namespace_of(value: Any) -> ModuleType | None:
    """Return the namespace of a Trainer, a module, or a data module, or of its class.

    Examples:
        >>> namespace_of(pl.LightningModule()) is pl, namespace_of("train.py")
        (True, None)
    """
    kind = value if isinstance(value, type) else value.__class__
    names = ("Trainer", "LightningModule", "LightningDataModule")
    for each in NAMESPACES:
        if issubclass(kind, tuple(getattr(each, name) for name in names)):
            return each
    return None


def check_same_namespace(trainer: Any, module: Any) -> None:
    """Refuse a Trainer of one namespace with a module, or data module, of the other.

    Raises:
        TypeError: If they are.
    """
    first, second = namespace_of(trainer), namespace_of(module)
    if first is second:
        return
    names = [None if each is None else each.__name__ for each in (first, second)]
    raise TypeError(
        f"the Trainer is one of {names[0]}, and {type(module).__qualname__} is of "
        f"{names[1]}: these two packages do not work together. Take the Trainer of "
        f"{names[1]} for it (`import {names[1]} as pl`), or the other way round."
    )
