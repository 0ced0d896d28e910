"""Random numbers that belong to an image, not to the batch that it comes in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from lightly_adv.isolation import rng


class Draws:
    """Draws for each image of a batch from a generator of its own.

    What an image gets depends on its key alone. That takes a loop over the images, but
    only here, and only to draw. All numbers are drawn on the CPU, where they are the
    same whatever the images lie on.

    Args:
        keys: For each image the non-negative integers that tell it from others.

    Examples:
        >>> together, alone = Draws([[0, 1], [0, 2]]), Draws([[0, 2]])
        >>> torch.equal(together.normal(3)[1:], alone.normal(3))
        True
    """

    def __init__(self, keys: Sequence[Sequence[int]]) -> None:
        self._generators = [rng.batch_generator(*key) for key in keys]

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers of shape `(B, *shape)`."""
        return self._each(lambda generator: torch.randn(shape, generator=generator))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return numbers from [low, high) of shape `(B, *shape)`."""
        drawn = self._each(lambda generator: torch.rand(shape, generator=generator))
        return low + (high - low) * drawn

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return whole numbers from low to high - 1 of shape `(B, *shape)`."""
        return self._each(
            lambda generator: torch.randint(low, high, shape, generator=generator)
        )

    def poisson(self, rates: Tensor) -> Tensor:
        """Return counts with the expected values `rates`, which has shape (B, ...)."""
        pairs = zip(rates.cpu(), self._generators, strict=True)
        return torch.stack([torch.poisson(rate, generator=g) for rate, g in pairs])

    def _each(self, draw: Callable[[Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator) for generator in self._generators])
