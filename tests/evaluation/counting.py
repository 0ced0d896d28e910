"""Models that count their passes where no evaluation puts the count back."""

from __future__ import annotations

import itertools

from torch import nn

STEADY = 3
"""Passes of an evaluation that ask whether the model has moved: two and one more."""


_KEYS = itertools.count()
_SIZES: dict[int, list[int]] = {}


class Counting(nn.Module):
    """Notes how many images came in every pass.

    Outside of it: an evaluation leaves a model and its class as they were.
    """

    def __init__(self) -> None:
        super().__init__()
        self._key = next(_KEYS)
        _SIZES[self._key] = []

    @property
    def sizes(self) -> list[int]:
        return _SIZES[self._key]

    @property
    def done(self) -> int:
        return len(self.sizes)
