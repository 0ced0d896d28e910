"""Labels without labels: clusters of the features of an encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lightly_adv.evaluation import batches
from lightly_adv.functional import clustering
from lightly_adv.isolation import modes
from lightly_adv.methods.batch_views import views_of


def pseudo_labels(
    encoder: nn.Module,
    loader: Iterable[Any],
    *,
    clusters: int,
    generator: Generator | None = None,
) -> Tensor:
    """Return the cluster of each image, found by k-means on its features.

    Args:
        encoder: From images (B, 3, H, W) in [0, 1] to features (B, D).
        loader: Batches of images without augmentation, in the order of the labels.
        clusters: Number of clusters.
        generator: Source of the first centroids, see `k_means`.

    Returns:
        Tensor of shape (N,), int64, on the CPU.

    Raises:
        ValueError: If there are fewer images than clusters, or none.

    Examples:
        >>> images = torch.rand(6, 3, 4, 4)
        >>> pseudo_labels(nn.Flatten(), images.split(2), clusters=2).shape
        torch.Size([6])
    """
    features = features_of(encoder, loader)
    centroids = clustering.k_means(features, clusters, generator=generator)
    return clustering.nearest(features, centroids)


@torch.no_grad()
def features_of(encoder: nn.Module, loader: Iterable[Any], *, view: int = 0) -> Tensor:
    """Return the features of all images, in eval mode, on the CPU.

    Args:
        encoder: From images to features (B, D).
        loader: Batches of images, or of views.
        view: Which of the views to take.

    Raises:
        ValueError: If there is no image.
    """
    device = next((each.device for each in encoder.parameters()), torch.device("cpu"))
    pairs = batches.first(loader, None, lambda batch: (views_of(batch)[view],) * 2)
    with modes.evaluation_mode(encoder):
        found = [encoder(images.to(device)).float().cpu() for images, _ in pairs]
    return torch.cat(found)
