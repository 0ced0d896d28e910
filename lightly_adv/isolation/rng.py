"""Random numbers that leave the user's random streams alone, and their states."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Generator, Tensor, nn

from lightly_adv.isolation.states import random_state

Streams: TypeAlias = dict[str, Any]
"""States of random streams as numbers and tensors only, for weights_only=True."""


def private_generator(
    views: Sequence[Tensor], *, number: int | None = None
) -> Generator:
    """Return a CPU generator seeded from the global random state, without drawing.

    The content of the views is mixed in, so that two batches that meet the same
    global state get different noise.

    Args:
        views: The tensors to be perturbed.
        number: That of the batch, if it is known. On other devices than the CPU it
            takes the place of the content, which would have to be waited for.
    """
    state = torch.get_rng_state().numpy().tobytes()
    if number is None or views[0].device.type == "cpu":
        content = _content(views)
    else:
        content = [float(number)]
    seed = zlib.crc32(state + struct.pack(f"{len(content)}d", *content))
    return Generator().manual_seed(seed)


def _content(views: Sequence[Tensor]) -> list[float]:
    # The GPUs of Macs have no float64.
    plain = [view.cpu() if view.device.type == "mps" else view for view in views]
    sums: list[float] = torch.stack([view.double().sum() for view in plain]).tolist()
    return sums


def near(generator: Generator, device: torch.device) -> Generator:
    """Return the generator, or on another device one that is seeded from it.

    Numbers that are drawn where they are needed do not have to be copied there.

    Args:
        generator: A CPU generator. One of another device is returned as it is.
        device: Where numbers are needed. One that has no generators gets those of the
            CPU.

    Examples:
        >>> generator = Generator()
        >>> near(generator, torch.device("cpu")) is generator
        True
    """
    if device.type == "cpu" or generator.device.type != "cpu":
        return generator
    try:
        there = Generator(device=device)
    except RuntimeError:
        return generator
    return there.manual_seed(int(torch.randint(2**63 - 1, (), generator=generator)))


def batch_generator(*key: int) -> Generator:
    """Return a CPU generator for one batch, seeded from non-negative integers.

    Args:
        *key: What tells this batch from all others: seed, rank, epoch, batch index.

    Examples:
        >>> first, again = batch_generator(0, 0, 1, 7), batch_generator(0, 0, 1, 7)
        >>> bool(torch.rand(1, generator=first) == torch.rand(1, generator=again))
        True
    """
    state = np.random.SeedSequence(key).generate_state(1, dtype=np.uint64)[0]
    # manual_seed takes signed 64-bit values.
    return Generator().manual_seed(int(state) >> 1)


@contextmanager
def forked(device: torch.device | None = None) -> Iterator[None]:
    """Restore the random states of torch, Python and NumPy at the end.

    Args:
        device: Also restore the state of this accelerator.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(**_fork_arguments(device)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def own_sources(module: nn.Module) -> Iterator[list[Any]]:
    """Restore the generators that a module and its parts hold at the end.

    Examples:
        >>> module = nn.Identity()
        >>> module.generator = Generator().manual_seed(0)
        >>> with own_sources(module):
        ...     first = torch.rand(1, generator=module.generator)
        >>> bool(first == torch.rand(1, generator=module.generator))
        True
    """
    held = [value for part in module.modules() for value in vars(part).values()]
    states = {id(value): state for value in held if (state := random_state(value))}
    saved = [(state, state.read()) for state in states.values()]
    try:
        yield [value for value in held if id(value) in states]
    finally:
        for state, before in saved:
            state.write(before)


def reseed(seed: int) -> None:
    """Seed torch, Python and NumPy. Use inside of `forked` only."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _fork_arguments(device: torch.device | None) -> dict[str, object]:
    if device is None or device.type == "cpu":
        return {"devices": []}
    index = device.index if device.index is not None else 0
    return {"devices": [index], "device_type": device.type}


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
    streams: Streams = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        # A tensor, because arrays are not among what is read without running code.
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position),
        "numpy_gauss": (int(has_gauss), float(gauss)),
    }
    if device.type != "cpu":
        streams["device"] = _module(device).get_rng_state(*_index(device))
    return streams


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
