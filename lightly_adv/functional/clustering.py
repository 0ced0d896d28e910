"""Clusters of features, found by k-means."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

_ROWS = 4096
"""How many features are compared with the centroids at once."""


def k_means(
    features: Tensor,
    clusters: int,
    *,
    generator: Generator | None = None,
    max_steps: int = 100,
) -> Tensor:
    """Return the centroids of k-means in Euclidean distance, begun by k-means++ [0].

    A cluster that loses all of its features begins again at the one that is farthest
    from its centroid.

    - [0] k-means++: The Advantages of Careful Seeding, 2007,
      https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf

    Args:
        features: Features of shape (N, D).
        clusters: Number of clusters, K.
        generator: Source of the first centroids, on the CPU. Defaults to one of seed 0.
        max_steps: When to stop although some features still change their cluster.

    Returns:
        Tensor of shape (K, D), float32 or wider.

    Raises:
        ValueError: If there are fewer features than clusters, or if some are not
            finite.

    Examples:
        >>> features = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> k_means(features, 2).sort(dim=0).values
        tensor([[ 0.5000],
                [10.5000]])
    """
    _check(features, clusters)
    generator = generator or Generator().manual_seed(0)
    points = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    centroids = _first_centroids(points, clusters, generator)
    labels = nearest(points, centroids)
    for _ in range(max_steps):
        centroids = _means(points, labels, centroids)
        before, labels = labels, nearest(points, centroids)
        if torch.equal(before, labels):
            break
    return centroids


def nearest(features: Tensor, centroids: Tensor) -> Tensor:
    """Return the number of the nearest centroid of each feature, of shape (N,).

    Examples:
        >>> nearest(torch.tensor([[0.2], [0.9]]), torch.tensor([[1.0], [0.0]]))
        tensor([1, 0])
    """
    parts = torch.split(features.detach().to(centroids.dtype), _ROWS)
    return torch.cat([torch.cdist(part, centroids).argmin(dim=1) for part in parts])


def _first_centroids(points: Tensor, clusters: int, generator: Generator) -> Tensor:
    """Draw one after the other, by its squared distance from those that are drawn."""
    shares = points.new_ones(len(points))
    chosen: list[Tensor] = []
    for _ in range(clusters):
        # Where all are drawn, or the same as one that is, any will do.
        weights = shares.cpu() if bool(shares.any()) else torch.ones(len(points))
        index = torch.multinomial(weights, 1, generator=generator).to(points.device)
        distances = (points - points[index]).square().sum(dim=1)
        shares = distances if not chosen else torch.minimum(shares, distances)
        chosen.append(points[index])
    return torch.cat(chosen)


def _means(points: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    sums = torch.zeros_like(centroids).index_add_(0, labels, points)
    counts = labels.bincount(minlength=len(centroids))
    means = sums / counts.clamp(min=1)[:, None]
    empty = (counts == 0).nonzero().flatten()
    if len(empty):
        distances = (points - centroids[labels]).square().sum(dim=1)
        means[empty] = points[distances.topk(len(empty)).indices]
    return means


def _check(features: Tensor, clusters: int) -> None:
    if features.dim() != 2 or not 1 <= clusters <= len(features):
        raise ValueError(
            f"features have the shape {tuple(features.shape)} and clusters={clusters}; "
            "expected (N, D) with at least as many images as clusters. Use fewer "
            "clusters."
        )
    if not bool(features.isfinite().all()):
        raise ValueError(
            "some features are NaN or inf; expected finite ones. Look for the cause in "
            "the encoder that made them."
        )
