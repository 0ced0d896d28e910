"""What kinds of objects there are, for whoever walks through what a module holds."""

from __future__ import annotations

import operator
import threading
from collections.abc import Collection, Iterable, Iterator
from enum import Enum
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

ATOMS = frozenset(
    (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), frozenset)
)
"""Types of which no object ever changes."""

CODE = frozenset((BuiltinFunctionType, ModuleType, RemovableHandle, type))
"""Types that are looked into by nobody."""

FIXED = ATOMS | CODE | {torch.device, torch.dtype, torch.Size, torch.layout}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_RECORDERS = _words(
    """
    aim clearml comet_ml dvclive lightning.pytorch.loggers lightning_fabric.loggers
    lightning.fabric.loggers mlflow neptune pytorch_lightning.loggers swanlab
    tensorboardX torch.utils.tensorboard trackio wandb
    """
)
"""Where the classes come from whose objects record what a training does."""

_FOREIGN = _words(
    """
    PIL _io _thread _weakref asyncio concurrent contextvars ctypes datasets datetime
    h5py io lightning lightning_fabric lightning_utilities lmdb logging
    multiprocessing numpy omegaconf pandas pathlib pyarrow pytorch_lightning re scipy
    selectors socket ssl subprocess threading torch warnings weakref
    """
)
"""Packages that look after their objects themselves."""

_LIBRARIES = _FOREIGN | _words(
    """
    abc builtins collections functools kornia lightly lightly_adv queue timm
    torchmetrics torchvision transformers typing
    """
)
"""Packages whose classes hold no data that a training changes."""

_OWN = "lightly_adv.isolation"
_SCHEDULERS = "torch.optim.lr_scheduler"
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
_THREADS = (*_LOCKS, threading.Thread, threading.Event, threading.Semaphore)


def _origins(kind: type) -> tuple[str, ...]:
    """Modules that a class and its bases come from."""
    return tuple(
        base.__module__
        for base in kind.__mro__
        if isinstance(base.__module__, str) and base is not object
    )


def _is_from(origin: str, places: Iterable[str]) -> bool:
    return any(origin == place or origin.startswith(f"{place}.") for place in places)


def records(kind: type) -> bool:
    """Whether objects of a class record a training: loggers, runs, writers."""
    return any(_is_from(origin, _RECORDERS) for origin in _origins(kind))


def is_foreign(kind: type) -> bool:
    """Whether objects of a class belong to a library that looks after them itself.

    Learning rate schedulers do not: training steps call them.
    """
    origins = _origins(kind)
    if any(_is_from(origin, (_SCHEDULERS,)) for origin in origins):
        return False
    return any(
        origin.partition(".")[0] in _FOREIGN or _is_from(origin, (_OWN,))
        for origin in origins
    )


def is_plain_object(value: Any) -> bool:
    """Whether a value is an object with attributes that somebody wrote a class for.

    Objects that hold a lock or thread are not counted: others may be using them.
    """
    kind = type(value)
    if kind in FIXED or is_foreign(kind) or isinstance(value, type | Enum):
        return False
    attributes = getattr(value, "__dict__", None)
    if attributes is None:
        return bool(slots_of(kind))
    return not any(isinstance(value, _THREADS) for value in attributes.values())


def slots_of(kind: type) -> tuple[str, ...]:
    """Names of the attributes of a class that are kept in slots."""
    names: dict[str, None] = {}
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        names.update(dict.fromkeys([slots] if isinstance(slots, str) else slots))
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def is_built_in_iterator(value: Any) -> bool:
    """Whether a value is an iterator or generator of Python itself."""
    places = ("builtins", "itertools")
    return hasattr(value, "__next__") and type(value).__module__ in places


def cells_of(value: Any) -> tuple[CellType, ...]:
    """Variables that a function has from the function around it."""
    if isinstance(value, MethodType):
        value = value.__func__
    return getattr(value, "__closure__", None) or ()


def class_attributes(kind: type) -> Iterator[tuple[type, dict[str, Any]]]:
    """Data that the classes of an object hold themselves, without those of libraries.

    Classes that hold none are left out.
    """
    for base in filter(is_own_class, kind.__mro__):
        data = own_data(base)
        if data:
            yield base, data


def is_own_class(kind: type) -> bool:
    """Whether a class is none of Python itself or of a library known here."""
    origin = str(kind.__module__).partition(".")[0]
    return origin not in _LIBRARIES


def own_data(kind: type) -> dict[str, Any]:
    """Attributes of a class that are data: no functions, descriptors or internals."""
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith(("__", "_abc_")) and _is_data(value)
    }


def _is_data(value: Any) -> bool:
    if isinstance(value, FunctionType | classmethod | staticmethod | type):
        return False
    return isinstance(value, Tensor) or not hasattr(type(value), "__get__")


def are_same(first: Collection[Any], second: Collection[Any]) -> bool:
    """Whether two collections list the same objects, by identity."""
    return len(first) == len(second) and all(map(operator.is_, first, second))


def optimizer_of(value: Any) -> torch.optim.Optimizer | None:
    """Return an optimizer, taken out of what Lightning wraps around it, or None."""
    value = getattr(value, "__dict__", {}).get("_optimizer", value)
    return value if isinstance(value, torch.optim.Optimizer) else None


def trainer_state(module: nn.Module) -> list[Any]:
    """Optimizers and schedulers of the trainer that a module is attached to."""
    strategy = getattr(module.__dict__.get("_trainer"), "strategy", None)
    configs = getattr(strategy, "lr_scheduler_configs", None) or ()
    optimizers = getattr(strategy, "optimizers", None) or ()
    return [*optimizers, *(config.scheduler for config in configs)]
