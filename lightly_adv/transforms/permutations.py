"""Sets of permutations to tell apart."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor

Selection: TypeAlias = Literal["random", "hamming"]
"""How permutations are chosen: as drawn, or far apart from each other."""

CANDIDATES = 1000
"""How many are drawn for each one that is kept by its distance to the others."""


def draw_permutations(
    length: int,
    count: int,
    *,
    selection: Selection = "random",
    generator: Generator | None = None,
) -> Tensor:
    """Draw permutations without the identity and without duplicates.

    Args:
        length: Number of things to permute.
        count: Number of permutations.
        selection: "random" draws them uniformly. "hamming" picks one after the other,
            each the one of 1000 candidates that differs in the most places from the
            nearest of those picked before and from the identity.
        generator: Where the randomness comes from; torch's global generator if None.

    Returns:
        Integers of shape (count, length).

    Raises:
        ValueError: If there are fewer permutations than asked for, or if the
            selection is unknown.

    Examples:
        >>> draw_permutations(4, 23).unique(dim=0).shape
        torch.Size([23, 4])
    """
    _check(length, count, selection)
    kept = torch.arange(length)[None]
    candidates = CANDIDATES if selection == "hamming" else 1
    while len(kept) <= count:
        drawn = torch.rand(candidates, length, generator=generator).argsort(dim=1)
        nearest = (drawn[:, None] != kept).sum(dim=2).amin(dim=1)
        best = int(nearest.argmax())
        if nearest[best] > 0:
            kept = torch.cat([kept, drawn[best, None]])
    return kept[1:]


def _check(length: int, count: int, selection: str) -> None:
    if selection not in ("random", "hamming"):
        raise ValueError(
            f"selection={selection!r} is unknown; use 'random' or 'hamming'."
        )
    most = math.factorial(length) - 1
    if not 1 <= count <= most:
        raise ValueError(
            f"{count} permutations of {length} things; expected 1 to {most}, which is "
            "all of them without the identity."
        )
