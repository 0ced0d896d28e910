"""The states of all random streams, in a form that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any, TypeAlias

import numpy as np
import torch

Streams: TypeAlias = dict[str, Any]
"""Numbers and tensors only, so that files of them are read with weights_only=True."""


def capture(device: torch.device) -> Streams:
    """Return the states of torch, Python and NumPy, and of an accelerator.

    Examples:
        >>> device = torch.device("cpu")
        >>> state = capture(device)
        >>> first = torch.rand(2)
        >>> restore(state, device)
        >>> torch.equal(torch.rand(2), first)
        True
    """
    state: Any = np.random.get_state()
    name, keys, position, has_gauss, gauss = state
    found: Streams = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        # A tensor, because arrays are not among what is read without running code.
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position),
        "numpy_gauss": (int(has_gauss), float(gauss)),
    }
    if device.type != "cpu":
        found["device"] = _module(device).get_rng_state(*_index(device))
    return found


def restore(state: Streams, device: torch.device) -> None:
    """Set the states that `capture` returned."""
    torch.set_rng_state(state["torch"].cpu())
    random.setstate(_tuples(state["python"]))
    name, keys, position = state["numpy"]
    numbers = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state((name, numbers, position, *state["numpy_gauss"]))
    if device.type != "cpu" and "device" in state:
        _module(device).set_rng_state(state["device"].cpu(), *_index(device))


def _module(device: torch.device) -> Any:
    return getattr(torch, device.type)


def _index(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)


def _tuples(state: Any) -> Any:
    return tuple(map(_tuples, state)) if isinstance(state, list | tuple) else state
