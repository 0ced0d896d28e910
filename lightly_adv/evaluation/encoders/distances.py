"""How far two embeddings are from each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightly_adv.functional import validation

Distance: TypeAlias = Literal["cosine", "l2"]
"""One minus the cosine, in [0, 2], or the length of the difference."""

_ROWS = 512
"""Rows of a table of distances that are held at once."""


def between(first: Tensor, second: Tensor, distance: Distance = "cosine") -> Tensor:
    """Return the distances (N,) of embeddings (N, D) from others, one by one.

    Examples:
        >>> first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> between(first, second), between(first, second, "l2")
        (tensor([1.]), tensor([2.2361]))
    """
    if distance == "cosine":
        return 1 - F.cosine_similarity(first, second, dim=1)
    lengths: Tensor = torch.linalg.vector_norm(first - second, dim=1)
    return lengths


def table(
    first: Tensor, second: Tensor, distance: Distance = "cosine"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the distances of all embeddings (N, D) from all others (M, D), in parts.

    Args:
        first: The embeddings of the rows.
        second: Those of the columns.
        distance: What is measured.

    Yields:
        Numbers of rows (B,), and their distances (B, M) in float64, in which equal
        embeddings are told from near ones.
    """
    first, second = first.double(), second.double()
    if distance == "cosine":
        first, second = (F.normalize(each, dim=1) for each in (first, second))
    rows = torch.arange(len(first), device=first.device)
    for part in torch.split(rows, _ROWS):
        if distance == "cosine":
            yield part, 1 - first[part] @ second.mT
        else:
            yield part, torch.cdist(first[part], second, compute_mode=_EXACT)


def check(distance: str) -> None:
    """Refuse an unknown distance.

    Raises:
        ValueError: If it is one.
    """
    validation.check_choice("distance", distance, get_args(Distance))


_EXACT = "donot_use_mm_for_euclid_dist"
