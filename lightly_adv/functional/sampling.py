"""Random numbers from an optional generator, which may be on another device."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def source_device(
    generator: Generator | None, default: torch.device | str = "cpu"
) -> torch.device:
    """Return the device to draw on: that of the generator, if there is one.

    Examples:
        >>> source_device(None), source_device(Generator())
        (device(type='cpu'), device(type='cpu'))
    """
    return torch.device(default) if generator is None else generator.device


def uniform(like: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Draw every entry uniformly from [0, 1).

    Args:
        like: Tensor that gives shape, dtype and device.
        generator: Source of randomness, on any device.

    Examples:
        >>> uniform(torch.zeros(2, 3)).shape
        torch.Size([2, 3])
    """
    device = source_device(generator, like.device)
    drawn = torch.rand(like.shape, dtype=like.dtype, device=device, generator=generator)
    return _moved(drawn, like)


def gaussian(like: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Draw every entry from the standard normal distribution.

    Args:
        like: Tensor that gives shape, dtype and device.
        generator: Source of randomness, on any device.

    Examples:
        >>> gaussian(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """
    device = source_device(generator, like.device)
    drawn = torch.randn(
        like.shape, dtype=like.dtype, device=device, generator=generator
    )
    return _moved(drawn, like)


def _moved(drawn: Tensor, like: Tensor) -> Tensor:
    # On the way to a device there is no need to wait; on the way back there is.
    return drawn.to(like.device, non_blocking=drawn.device.type == "cpu")
