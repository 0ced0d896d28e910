"""Models that count their passes where no evaluation puts the count back."""

from __future__ import annotations

import itertools
from typing import ClassVar

from torch import nn

STEADY = 3
"""Passes of an evaluation that ask whether the model has moved: two and one more."""


class Counting(nn.Module):
    """Notes how many images came in every pass.

    In the class, as an evaluation leaves the attributes of a model as they were.
    """

    _sizes: ClassVar[dict[int, list[int]]] = {}
    _keys: ClassVar = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self._key = next(self._keys)
        self._sizes[self._key] = []

    @property
    def sizes(self) -> list[int]:
        return self._sizes[self._key]

    @property
    def done(self) -> int:
        return len(self.sizes)
