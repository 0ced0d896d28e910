"""What a Trainer asks for and this machine has not: examine on the CPU instead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightly_adv import lightning

ONE_DEVICE: dict[str, Any] = {
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "sync_batchnorm": False,
}
"""Options of a Trainer that an examination in one process needs."""

_ELSEWHERE = ("gpu", "cuda", "mps", "tpu", "xla", "hpu", "ipu")
"""Accelerators by the names that a Trainer knows or has known."""

_PRECISIONS = {"16-true": "bf16-true"}
"""Number formats that a CPU does not compute with, and what comes nearest.

Lightning itself makes bf16-mixed of 16-mixed.
"""

_CUDA_CALLS: dict[str, Any] = {
    "set_device": None,
    "current_device": 0,
    "synchronize": None,
    "reset_peak_memory_stats": None,
    "get_device_name": "cpu",
    "get_device_capability": (0, 0),
    "get_device_properties": SimpleNamespace(name="cpu", total_memory=0),
    "manual_seed": None,
}
"""Functions of torch.cuda that need a GPU, and what they return without one."""


def missing(options: Mapping[str, Any]) -> str:
    """Return the accelerator that a Trainer asks for and that is not here, or "".

    Examples:
        >>> missing({"accelerator": "cpu"}), missing({"accelerator": "hpu"})
        ('', 'hpu')
    """
    asked = options.get("accelerator", "auto")
    if not isinstance(asked, str):
        there = getattr(asked, "is_available", None)
        return "" if there is None or there() else type(asked).__name__
    name = asked.lower()
    return asked if name in _ELSEWHERE and not _is_available(name) else ""


def _is_available(name: str) -> bool:
    if name in ("gpu", "cuda", "mps"):
        cuda = torch.cuda.is_available()
        mps = torch.backends.mps.is_available()
        return {"gpu": cuda or mps, "cuda": cuda, "mps": mps}[name]
    registry = lightning.attribute(lightning.pl, "accelerators.AcceleratorRegistry")
    return name in registry and bool(registry[name]["accelerator"].is_available())


def replaced(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a Trainer that this machine cannot meet, as it can.

    Examples:
        >>> replaced({"accelerator": "hpu", "devices": 2, "precision": "16-true"})
        {'accelerator': 'cpu', 'precision': 'bf16-true'}
        >>> replaced({"accelerator": "cpu", "devices": 2})
        {}
    """
    if not missing(options):
        return {}
    found: dict[str, Any] = {"accelerator": "cpu"}
    precision = options.get("precision")
    if precision in _PRECISIONS:
        found["precision"] = _PRECISIONS[precision]
    elif str(precision).startswith("transformer-engine"):
        found["precision"] = "32-true"
    if options.get("plugins") is not None:
        found["plugins"] = None
    return found


@contextlib.contextmanager
def without_gpu() -> Iterator[None]:
    """Let code that moves tensors to a GPU by itself run where there is none.

    Inside of the block "cuda" means the CPU to functions of torch and to methods of
    tensors and modules. Where there is a GPU nothing is changed.
    """
    if torch.cuda.is_available():
        yield
        return
    with contextlib.ExitStack() as stack:
        for name, value in _CUDA_CALLS.items():
            stub = mock.Mock(return_value=value)
            stack.enter_context(mock.patch.object(torch.cuda, name, stub))
        default = torch.set_default_device
        stack.enter_context(
            mock.patch.object(
                torch, "set_default_device", lambda device: default(_moved(device))
            )
        )
        stack.enter_context(_OnCPU())
        yield


class _OnCPU(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.cuda:
            return args[0]
        if func is torch.device:  # torch asks by it which of its modules to use
            return func(*args, **(kwargs or {}))
        given = {name: _moved(value) for name, value in (kwargs or {}).items()}
        return func(*(_moved(each) for each in args), **given)


def _moved(value: Any) -> Any:
    """Return the CPU for a GPU, and everything else as it is."""
    if isinstance(value, str) and value.split(":")[0] == "cuda":
        return "cpu"
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return value
