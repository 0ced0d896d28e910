"""Measures of how robust embeddings are, from the embeddings alone.

The ideas and names are those of [0]; the formulas are the ones stated here.

- [0] Robustness of Unsupervised Representation Learning without Labels, 2022,
  https://arxiv.org/abs/2210.04076
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor

from lightly_adv.evaluation.encoders import distances
from lightly_adv.evaluation.encoders.distances import Distance
from lightly_adv.functional import validation

Pairs: TypeAlias = Literal["random", "nearest"]
"""Which images are paired: any two, or such that are near each other."""

_ROUNDING = 1e-12
"""Equal embeddings are not nearer to each other than to themselves."""


def breakaway(
    clean: Tensor,
    attacked: Tensor,
    distance: Distance = "cosine",
    indices: Tensor | None = None,
) -> Tensor:
    """Return for every image how many others its attacked embedding is nearer to.

    Args:
        clean: Embeddings (N, D) of the images.
        attacked: Embeddings (B, D) under an untargeted attack.
        distance: What is measured.
        indices: Of which images these are, (B,). Defaults to all of them.

    Returns:
        Shares (B,) in [0, 1] of the other images j with
        `d(attacked[i], clean[j]) < d(attacked[i], clean[i])`. Their mean is the
        breakaway risk; where the share is 0, an image is its own nearest neighbour.

    Raises:
        ValueError: If there are fewer than two images.

    Examples:
        >>> clean = torch.tensor([[0.0], [1.0], [4.0]])
        >>> breakaway(clean, torch.tensor([[0.4], [0.4], [3.0]]), "l2")
        tensor([0.0000, 0.5000, 0.0000])
    """
    _check_count(clean)
    indices = torch.arange(len(clean)) if indices is None else indices
    nearer = []
    for rows, far in distances.table(attacked, clean, distance):
        own = far.gather(1, indices[rows, None])
        nearer.append((far < own - _ROUNDING).sum(dim=1))
    return torch.cat(nearer) / (len(clean) - 1)


def relative_quantile(
    clean: Tensor,
    attacked: Tensor,
    distance: Distance = "cosine",
    indices: Tensor | None = None,
) -> Tensor:
    """Return for every image how many others are nearer to it than it is to itself.

    It tells how large a drift is, in terms of the encoder's own distances.

    Args:
        clean: Embeddings (N, D) of the images.
        attacked: Embeddings (B, D) under an untargeted attack.
        distance: What is measured.
        indices: Of which images these are, (B,). Defaults to all of them.

    Returns:
        Shares (B,) in [0, 1] of the other images j with
        `d(clean[i], clean[j]) < d(clean[i], attacked[i])`.

    Raises:
        ValueError: If there are fewer than two images.

    Examples:
        >>> clean = torch.tensor([[0.0], [1.0], [4.0]])
        >>> relative_quantile(clean, torch.tensor([[2.0], [1.0], [4.5]]), "l2")
        tensor([0.5000, 0.0000, 0.0000])
    """
    _check_count(clean)
    indices = torch.arange(len(clean)) if indices is None else indices
    own = clean[indices]
    drift = distances.between(own.double(), attacked.double(), distance)
    nearer = []
    for rows, far in distances.table(own, clean, distance):
        far.scatter_(1, indices[rows, None], torch.inf)  # an image is not another one
        nearer.append((far < drift[rows, None] - _ROUNDING).sum(dim=1))
    return torch.cat(nearer) / (len(clean) - 1)


def match(
    clean: Tensor,
    *,
    generator: Generator,
    pairs: Pairs = "random",
    distance: Distance = "cosine",
) -> Tensor:
    """Pair images, two and two.

    Args:
        clean: Embeddings (N, D) of the images.
        generator: Source of the order in which they choose.
        pairs: "random" for any other, "nearest" for the nearest one that is left.
        distance: What is near.

    Returns:
        For every image the index of its partner, of shape (N,); if N is odd, one has
        none, which is -1.

    Raises:
        ValueError: If there are fewer than two images, or if `pairs` is unknown.
    """
    _check_count(clean)
    validation.check_choice("pairs", pairs, get_args(Pairs))
    order = torch.randperm(len(clean), generator=generator).to(clean.device)
    partners = torch.full_like(order, -1)
    if pairs == "random":
        first, second = order[0::2], order[1::2]
        first = first[: len(second)]
        partners[first], partners[second] = second, first
        return partners
    free = torch.ones(len(clean), dtype=torch.bool, device=clean.device)
    for one in order.tolist():
        if free[one] and int(free.sum()) > 1:
            free[one] = False
            ((_, far),) = distances.table(clean[one : one + 1], clean, distance)
            other = int(far[0].masked_fill(~free, torch.inf).argmin())
            free[other] = False
            partners[one], partners[other] = other, one
    return partners


def overlap(moved: Tensor, reached: Tensor, partners: Tensor) -> Tensor:
    """Return which images have their partner come nearer than they went away.

    Both images of a pair are attacked towards the other. Where the partner comes nearer
    to an image than the image itself is, the regions that an attacker can reach
    from the two overlap.

    Args:
        moved: Distance of each attacked embedding from the clean one, (N,).
        reached: Its distance from the clean embedding of the partner, (N,).
        partners: The partner of every image, of shape (N,), from `match`.

    Returns:
        One bool for every image that has a partner: whether `reached` of the partner
        is less than `moved`. Their mean is the overlap risk.

    Examples:
        >>> partners = torch.tensor([1, 0])
        >>> overlap(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 1.0]), partners)
        tensor([True, True])
    """
    rows = (partners >= 0).nonzero().flatten()
    return reached[partners[rows]] < moved[rows]


def _check_count(clean: Tensor) -> None:
    if len(clean) < 2:
        raise ValueError(
            f"there is {len(clean)} image; expected at least two, because breakaway "
            "and overlap risk compare images with each other."
        )
