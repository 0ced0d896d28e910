from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightly_adv.functional import gradient_diversity


def by_hand(grads: list[Tensor], ridge: float = 1e-5) -> float:
    """The mean over samples of the log of the product of eigenvalues, in NumPy."""
    import numpy as np

    values = []
    for sample in zip(*(grad.double().numpy() for grad in grads), strict=True):
        columns = np.stack([g.ravel() / np.linalg.norm(g) for g in sample], axis=1)
        eigenvalues = np.linalg.eigvalsh(
            columns.T @ columns + ridge * np.eye(len(grads))
        )
        values.append(np.log(eigenvalues).sum())
    return float(np.mean(values))


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_formula(count: int, dtype: torch.dtype) -> None:
    grads = [torch.randn(6, 3, 4, 4, dtype=dtype) for _ in range(count)]
    found = gradient_diversity(grads)
    assert (found.shape, found.dtype) == ((), dtype)
    assert found.item() == pytest.approx(by_hand(grads), rel=1e-4, abs=1e-5)
    assert gradient_diversity(grads, ridge=0.1).item() == pytest.approx(
        by_hand(grads, ridge=0.1), rel=1e-4, abs=1e-5
    )


@pytest.mark.parametrize(("count", "expected"), [(2, -10.8198), (3, -21.9272)])
def test_identical_and_orthogonal_gradients(count: int, expected: float) -> None:
    one = torch.randn(4, 3, 8, 8)
    identical = [(index + 1) * one for index in range(count)]
    assert gradient_diversity(identical).item() == pytest.approx(expected, abs=0.1)
    exact = math.log(count) + (count - 1) * math.log(1e-5)
    double = gradient_diversity([each.double() for each in identical])
    assert double.item() == pytest.approx(exact, abs=1e-4)

    orthogonal = list(torch.eye(count)[:, None].expand(-1, 4, -1))
    found = gradient_diversity(orthogonal).item()
    assert found == pytest.approx(count * math.log1p(1e-5), abs=1e-6)


def test_opposite_gradients_count_as_aligned() -> None:
    one = torch.randn(4, 10, dtype=torch.float64)
    same, opposite = (gradient_diversity([one, sign * one]) for sign in (1, -1))
    assert same.item() == pytest.approx(opposite.item())


def test_neither_lengths_nor_the_order_matter() -> None:
    grads = [torch.randn(4, 3, 8, 8) for _ in range(3)]
    scaled = [grads[2] * 1e-12, grads[0] * 1e6, grads[1]]
    expected = gradient_diversity(grads).item()
    assert gradient_diversity(scaled).item() == pytest.approx(expected, rel=1e-4)


def test_each_sample_counts_for_itself() -> None:
    grads = [torch.randn(5, 12) for _ in range(2)]
    alone = [gradient_diversity([g[i : i + 1] for g in grads]) for i in range(5)]
    assert gradient_diversity(grads).item() == pytest.approx(
        torch.stack(alone).mean().item(), rel=1e-5
    )


def test_first_and_second_derivatives() -> None:
    grads = [
        torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]

    def diversity(*grads: Tensor) -> Tensor:
        return gradient_diversity(grads, ridge=1e-2)

    assert torch.autograd.gradcheck(diversity, grads)
    assert torch.autograd.gradgradcheck(diversity, grads)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-15, 1e15])
def test_extreme_gradients_have_finite_derivatives(length: float) -> None:
    directions = torch.randn(2, 4, 10)
    grads = [directions[0].requires_grad_(), (length * directions[1]).requires_grad_()]
    found = gradient_diversity(grads)
    assert found.isfinite()
    for derivative in torch.autograd.grad(found, grads):
        assert derivative.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_blur_the_ridge(dtype: torch.dtype) -> None:
    one = torch.randn(4, 300)
    with torch.autocast("cpu", dtype=dtype):
        found = gradient_diversity([one, one + 1e-3 * torch.randn(4, 300), one])
    assert found.dtype == torch.float32
    assert -22 < found.item() < -15
    half = gradient_diversity([one.to(dtype), one.to(dtype)])
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(-10.82, abs=0.1)


def test_one_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="1 gradients; diversity needs at least two"):
        gradient_diversity([torch.rand(2, 3)])


def test_gradients_of_different_sizes_are_refused() -> None:
    grads = [torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)]
    with pytest.raises(ValueError, match=r"\(2, 192\), \(2, 48\).*one image size"):
        gradient_diversity(grads)
