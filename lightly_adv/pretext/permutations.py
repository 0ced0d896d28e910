"""Sets of permutations to tell apart."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor

from lightly_adv.functional import sampling, validation

Selection: TypeAlias = Literal["random", "hamming"]
"""How permutations are chosen: as drawn, or far apart from each other."""

CANDIDATES = 10_000
"""From how many at least those that are far apart are picked."""


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
            each the one of 10,000 candidates (ten times `count`, if that is more) that
            differs in the most places from the nearest of those picked before and of
            the identity.
        generator: Where the randomness comes from; torch's global generator if None.

    Returns:
        Integers of shape (count, length), on the device of the generator, or the CPU.

    Raises:
        ValueError: If there are fewer permutations than asked for, or if the
            selection is unknown.

    Examples:
        >>> draw_permutations(4, 23).unique(dim=0).shape
        torch.Size([23, 4])
    """
    _check(length, count, selection)
    if selection == "hamming":
        return _far_apart(length, count, generator)
    seen = {tuple(range(length))}
    kept: list[list[int]] = []
    # Devices are named throughout, for models may be made under torch.device("cuda").
    while len(kept) < count:
        for each in _draw(length, count - len(kept), generator).tolist():
            if tuple(each) not in seen:
                seen.add(tuple(each))
                kept.append(each)
    return torch.tensor(kept, device=sampling.source_device(generator))


def _far_apart(length: int, count: int, generator: Generator | None) -> Tensor:
    kept = torch.arange(length, device=sampling.source_device(generator))[None]
    candidates, nearest = kept, torch.zeros(1, device=kept.device)
    while len(kept) <= count:
        best = nearest.argmax()
        if nearest[best] > 0:
            kept = torch.cat([kept, candidates[best, None]])
            nearest = torch.minimum(nearest, _distance(candidates, kept[-1]))
        else:  # at the start, and where all permutations there are have to be found
            candidates = _draw(length, max(CANDIDATES, 10 * count), generator)
            distances = [_distance(candidates, each) for each in kept]
            nearest = torch.stack(distances).amin(dim=0)
    return kept[1:]


def _draw(length: int, count: int, generator: Generator | None) -> Tensor:
    device = sampling.source_device(generator)
    return torch.rand(count, length, generator=generator, device=device).argsort(dim=1)


def _distance(candidates: Tensor, other: Tensor) -> Tensor:
    return (candidates != other).sum(dim=1)


def _check(length: int, count: int, selection: str) -> None:
    validation.check_choice("selection", selection, ("random", "hamming"))
    most = math.factorial(length) - 1
    if not 1 <= count <= most:
        raise ValueError(
            f"{count} permutations of {length} things, but there are {most} beside the "
            "identity; ask for at least one and no more than that, or permute more."
        )
