"""Tensors out of the files that people keep weights in, whatever lies around them."""

from __future__ import annotations

import argparse
import contextlib
import pickle
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

State = Mapping[str, Tensor]

DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    IndexError,
    OSError,
    RuntimeError,
    struct.error,
    ValueError,
)
"""What torch raises of a file that is cut off; where it is cut decides which."""

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which a state dict usually lies; its own keys are known without them."""

_DEEPEST = 12
"""How many dictionaries may lie in each other; a file may hold one inside of itself."""

_SHOWN = 3


def read(path: Path) -> State:
    """Return the tensors in a file by their keys, without running code.

    Keys of dictionaries that lie in each other are joined by dots, as in
    `teacher.backbone.conv1.weight`, but for those in `WRAPPERS`. States of optimisers
    and lists are left out.

    Args:
        path: A safetensors file, or one of `torch.save`.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If it is damaged, could run code, or holds no tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}.")
    content = (
        _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    )
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a state dict, as "
            "torch.save(model.state_dict(), path) writes it."
        )
    found = flatten(content)
    if not found:
        raise ValueError(
            f"{path} holds no tensors under names, but {_kinds(content)}; expected a "
            "state dict, as torch.save(model.state_dict(), path) writes it."
        )
    return found


def flatten(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors in dictionaries that may lie in each other.

    Examples:
        >>> weight = torch.ones(1)
        >>> list(flatten({"state_dict": {"0.weight": weight}, "epoch": 3}))
        ['0.weight']
        >>> list(flatten({"net": {"0.weight": weight}, "ema": {"0.weight": weight}}))
        ['net.0.weight', 'ema.0.weight']
    """
    return _flat(content, _DEEPEST, WRAPPERS)


def some(keys: Iterable[str]) -> str:
    """Return the first of some keys, for messages.

    Examples:
        >>> some(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    every = list(keys)
    return ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")


def outline(found: State) -> str:
    """Return which keys there are, for messages: the first ones of each first part.

    Examples:
        >>> weight = torch.ones(1)
        >>> outline({"net.0.weight": weight, "net.0.bias": weight, "scale": weight})
        'net.* (2 tensors: net.0.weight, net.0.bias), scale'
    """
    groups: dict[str, list[str]] = {}
    for key in found:
        groups.setdefault(key.partition(".")[0], []).append(key)
    if len(groups) > _SHOWN:
        return some(found)
    return ", ".join(
        f"{name}.* ({len(keys)} tensors: {some(keys)})" if len(keys) > 1 else keys[0]
        for name, keys in groups.items()
    )


def _flat(
    content: Mapping[Any, Any], deepest: int, wrappers: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    found = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    inner = {
        key: _flat(value, deepest - 1, wrappers if key in wrappers else ())
        for key, value in named.items()
        if isinstance(value, Mapping) and deepest > 0
    }
    wrapper = next((key for key in wrappers if inner.get(key)), None)
    if wrapper is not None and not found.keys() & inner[wrapper].keys():
        found |= inner.pop(wrapper)
    for name, state in inner.items():
        for key, value in state.items():
            found.setdefault(f"{name}.{key}", value)
    return found


def _kinds(content: Mapping[Any, Any]) -> str:
    kinds = [f"{key!r} ({type(value).__name__})" for key, value in content.items()]
    return some(kinds) or "nothing"


def _read_safetensors(path: Path) -> State:
    try:
        tensors: State = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}.") from error
    return tensors


def _read_torch(path: Path) -> Any:
    try:
        with _options_allowed():
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except DAMAGED as error:
        reason = str(error).strip().splitlines()
        named = re.search(r"GLOBAL (\S+)", str(error))
        cause = f"an object of {named[1]}" if named else (reason or ["no data"])[0]
        raise ValueError(
            f"{path} cannot be read with weights_only=True ({cause}). Files that hold "
            "objects other than tensors can run code when they are opened. If you "
            "trust it, open it where it was written and save the weights alone: "
            "torch.save(model.state_dict(), path)."
        ) from error


def _options_allowed() -> contextlib.AbstractContextManager[Any]:
    """Allow `argparse.Namespace`, plain data that many scripts save beside weights."""
    allow: Any = getattr(torch.serialization, "safe_globals", None)  # torch >= 2.5
    return allow([argparse.Namespace]) if allow else contextlib.nullcontext()
