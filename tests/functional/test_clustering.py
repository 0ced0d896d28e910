from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from lightly_adv.functional.clustering import k_means, nearest


def blobs(count: int = 4, per_blob: int = 25) -> tuple[Tensor, Tensor]:
    """Features around well separated centres, and which centre each is of."""
    generator = Generator().manual_seed(0)
    centres = 10 * torch.eye(count)
    labels = torch.arange(count * per_blob) % count
    noise = torch.randn(len(labels), count, generator=generator)
    return centres[labels] + 0.3 * noise, labels


def test_clusters_that_are_there_are_found() -> None:
    features, labels = blobs()
    found = nearest(features, k_means(features, 4))
    for label in range(4):
        assert len(set(found[labels == label].tolist())) == 1
    assert len(set(found.tolist())) == 4


def test_no_step_lowers_the_error_any_more() -> None:
    features = torch.rand(60, 3, generator=Generator().manual_seed(1))
    centroids = k_means(features, 5)
    labels = nearest(features, centroids)
    for cluster, centroid in enumerate(centroids):
        members = features[labels == cluster]
        torch.testing.assert_close(centroid, members.mean(dim=0))
    distances = (features[:, None] - centroids).square().sum(dim=2)
    assert torch.equal(labels, distances.argmin(dim=1))


def test_it_repeats_and_follows_its_generator() -> None:
    features = torch.rand(50, 2, generator=Generator().manual_seed(2))
    assert torch.equal(k_means(features, 7), k_means(features, 7))
    others = [
        k_means(features, 7, generator=Generator().manual_seed(s)) for s in (3, 4)
    ]
    assert not torch.equal(*others)


def test_as_many_clusters_as_features_that_are_alike() -> None:
    centroids = k_means(torch.ones(4, 2), 4)
    assert torch.equal(centroids, torch.ones(4, 2))


def test_fewer_images_than_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) and clusters=4.*fewer clusters"):
        k_means(torch.rand(3, 2), 4)
    with pytest.raises(ValueError, match="clusters=0"):
        k_means(torch.rand(3, 2), 0)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match=r"NaN or inf.*encoder"):
        k_means(torch.tensor([[0.0], [torch.nan]]), 1)
