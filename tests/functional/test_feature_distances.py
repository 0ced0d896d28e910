"""Distances of features against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightly_adv.functional import feature_distances
from lightly_adv.functional.feature_distances import cosine, size, squared_l2


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, *shape, generator=generator)
    return first, second


def test_squared_l2_is_the_sum_over_features_and_the_mean_over_tokens() -> None:
    a, b = pair(2, 3, 5)
    for index, value in enumerate(squared_l2(a, b).tolist()):
        rows = zip(a[index].tolist(), b[index].tolist(), strict=True)
        sums = [sum((x - y) ** 2 for x, y in zip(*row, strict=True)) for row in rows]
        assert value == pytest.approx(sum(sums) / 3, rel=1e-5)
    assert torch.allclose(squared_l2(a[:, 0], b[:, 0]), (a - b)[:, 0].square().sum(1))


def test_cosine_is_one_minus_the_cosine() -> None:
    a, b = pair(4, 5)
    for index, value in enumerate(cosine(a, b).tolist()):
        x, y = a[index].tolist(), b[index].tolist()
        product = sum(p * q for p, q in zip(x, y, strict=True))
        lengths = math.hypot(*x) * math.hypot(*y)
        assert value == pytest.approx(1 - product / lengths, abs=1e-6)


@pytest.mark.parametrize("distance", [squared_l2, cosine])
def test_at_the_target_distance_and_gradient_are_exactly_zero(
    distance: feature_distances.FeatureDistance,
) -> None:
    target, _ = pair(4, 5)
    features = target.clone().requires_grad_()
    values = distance(features, target)
    (gradient,) = torch.autograd.grad(values.sum(), features)
    assert not values.any()
    assert not gradient.any()


def test_relative_distances_do_not_depend_on_the_scale_of_the_features() -> None:
    a, b = pair(4, 5)
    for distance in (squared_l2, cosine):
        relative = distance(a, b) / size(distance, b)
        scaled = distance(3 * a, 3 * b) / size(distance, 3 * b)
        assert torch.allclose(relative, scaled, rtol=1e-5)


def test_half_precision_is_summed_in_float32() -> None:
    features = torch.full((1, 1024), 16.0, dtype=torch.float16)
    # 1024 * 256 is more than float16 holds.
    assert squared_l2(features, torch.zeros_like(features)).item() == 1024 * 256


def test_other_shapes_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*same shape"):
        squared_l2(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"'l1'.*cosine"):
        feature_distances.resolve("l1")
    with pytest.raises(TypeError, match=r"int.*function"):
        feature_distances.resolve(2)  # type: ignore[arg-type]
