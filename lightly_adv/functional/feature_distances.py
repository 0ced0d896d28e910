"""Distances between features, one value per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from lightly_adv.functional import validation

FeatureDistance: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From features and a target of one shape, (B, D) or (B, T, D), to values (B,)."""


def squared_l2(features: Tensor, target: Tensor) -> Tensor:
    """Return the squared length of the difference, as in FARE [0].

    Nothing is normalised: it is the sum over the features. Of tokens it is the mean.

    - [0] Robust CLIP: Unsupervised Adversarial Fine-Tuning of Vision Embeddings for
      Robust Large Vision-Language Models, 2024, https://arxiv.org/abs/2402.12336

    Args:
        features: Features of shape (B, D), or of tokens (B, T, D).
        target: Features of the same shape.

    Returns:
        Tensor of shape (B,), float32 or wider.

    Raises:
        ValueError: If the shapes differ, or are others.

    Examples:
        >>> squared_l2(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
        tensor([25.])
    """
    features, target = _wide(features, target)
    return _mean_of_tokens((features - target).square().sum(dim=-1))


def cosine(features: Tensor, target: Tensor) -> Tensor:
    """Return one minus the cosine, in [0, 2]. Of tokens it is the mean.

    Computed as half the squared difference of the directions, so that distance and
    gradient are exactly 0 at the target.

    See `squared_l2` for arguments and errors.

    Examples:
        >>> cosine(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]]))
        tensor([1.])
    """
    directions = (F.normalize(each, dim=-1) for each in _wide(features, target))
    return squared_l2(*directions) / 2


DISTANCES: Mapping[str, FeatureDistance] = MappingProxyType(
    {"l2": squared_l2, "cosine": cosine}
)
"""The distances by name."""


def resolve(distance: str | FeatureDistance) -> FeatureDistance:
    """Return a distance by its name; a function is returned as it is.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If it is neither.

    Examples:
        >>> resolve("l2") is squared_l2
        True
    """
    if callable(distance):
        return distance
    if not isinstance(distance, str):
        raise TypeError(
            f"distance is a {type(distance).__name__}; expected a name of "
            f"{tuple(DISTANCES)}, or a function of features and target."
        )
    remedy = ", or a function of features and target"
    validation.check_choice("distance", distance, DISTANCES, remedy=remedy)
    return DISTANCES[distance]


def size(distance: FeatureDistance, target: Tensor) -> Tensor:
    """Return the distance of the zero vector from features, of shape (B,).

    What a distance is measured by: for `squared_l2` the squared length of the target,
    for `cosine` one half. A distance divided by it is in both cases a squared length
    relative to that of the target.

    Examples:
        >>> size(squared_l2, torch.tensor([[3.0, 4.0]]))
        tensor([25.])
        >>> size(cosine, torch.tensor([[3.0, 4.0]]))
        tensor([0.5000])
    """
    return distance(torch.zeros_like(target), target)


def _wide(features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float32 or wider: half precision loses sums of squares."""
    if features.shape != target.shape or features.dim() not in (2, 3):
        raise ValueError(
            f"features have shape {tuple(features.shape)} and the target "
            f"{tuple(target.shape)}; expected the same shape, (B, D) or (B, T, D)."
        )
    wide = torch.promote_types(features.dtype, torch.float32)
    return features.to(wide), target.to(wide)


def _mean_of_tokens(values: Tensor) -> Tensor:
    return values if values.dim() == 1 else values.mean(dim=1)
