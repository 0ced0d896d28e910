from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightly_adv.functional import losses


def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (
        3 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    return first, second


def by_hand(target: list[float], other: list[float]) -> float:
    """Sum p log(p / q) over the classes, with plain floats."""
    p, q = (
        [math.exp(v) / sum(math.exp(w) for w in values) for v in values]
        for values in (target, other)
    )
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_it_is_the_sum_over_the_classes() -> None:
    target, other = logits()
    expected = [
        by_hand(a, b) for a, b in zip(target.tolist(), other.tolist(), strict=True)
    ]
    assert losses.kl_divergence(target, other).tolist() == pytest.approx(expected)


def test_it_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    target, other = logits()
    expected = [
        stats.entropy(p, q)
        for p, q in zip(
            target.softmax(1).numpy(), other.softmax(1).numpy(), strict=True
        )
    ]
    assert losses.kl_divergence(target, other).tolist() == pytest.approx(expected)


def test_it_is_not_symmetric_and_zero_only_where_equal() -> None:
    target, other = logits()
    there = losses.kl_divergence(target, other)
    assert (there > 0).all()
    assert not torch.allclose(there, losses.kl_divergence(other, target))
    same = losses.kl_divergence(target, target + 7)  # logits count up to a constant
    assert same.abs().max() < 1e-12


def test_gradients_reach_both() -> None:
    pair = [each.requires_grad_() for each in logits()]
    assert torch.autograd.gradcheck(losses.kl_divergence, pair)
    for grad in torch.autograd.grad(losses.kl_divergence(*pair).sum(), pair):
        assert grad.abs().sum() > 0.1


def test_there_is_no_gradient_where_both_agree() -> None:
    target, _ = logits()
    other = target.clone().requires_grad_()
    (grad,) = torch.autograd.grad(losses.kl_divergence(target, other).sum(), other)
    assert grad.abs().max() < 1e-12


def test_certain_answers_do_not_make_it_nan() -> None:
    target, other = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert losses.kl_divergence(target, other).item() == pytest.approx(1e4)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,))])
def test_other_shapes_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"expected the same shape \(B, C\) of both"):
        losses.kl_divergence(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loses_nothing_of_the_sum(dtype: torch.dtype) -> None:
    target, other = (each.to(dtype) for each in logits())
    found = losses.kl_divergence(target, other)
    assert found.dtype == torch.float32
    expected = losses.kl_divergence(target.double(), other.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
