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


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_targeted_dlr_is_the_ratio_of_the_paper(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(6, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (6,), generator=generator)
    targets = (labels + 1) % classes
    found = losses.targeted_dlr(logits, labels, targets)
    for row, label, target, value in zip(logits, labels, targets, found, strict=True):
        z = sorted(row.tolist(), reverse=True)
        scale = {2: 1.0, 3: z[0] - z[-1]}.get(classes)
        scale = scale or z[0] - (z[2] + z[3]) / 2
        expected = (float(row[target]) - float(row[label])) / scale
        assert float(value) == pytest.approx(expected)
        assert (float(value) > 0) == bool(row[target] > row[label])
    if classes > 2:
        torch.testing.assert_close(
            losses.targeted_dlr(100 * logits + 5, labels, targets), found
        )


def test_targeted_dlr_of_equal_logits_is_finite() -> None:
    logits = torch.ones(1, 5, dtype=torch.bfloat16, requires_grad=True)
    value = losses.targeted_dlr(logits, torch.tensor([0]), torch.tensor([1]))
    assert value.dtype == torch.float32
    (grad,) = torch.autograd.grad(value.sum(), logits)
    assert value.item() == 0
    assert not grad.isnan().any()


@pytest.mark.parametrize("left", [2, 3, 4, 5])
def test_targeted_dlr_of_classes_that_are_left_is_that_without_the_others(
    left: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, left, generator=generator).requires_grad_()
    ruled_out = logits.new_full((6, 4), -torch.inf)
    labels, targets = torch.arange(6) % left, (torch.arange(6) + 1) % left
    expected = losses.targeted_dlr(logits, labels, targets)
    found = losses.targeted_dlr(torch.cat([logits, ruled_out], 1), labels, targets)
    assert torch.allclose(found, expected)
    (grad,) = torch.autograd.grad(found.sum(), logits)
    (plain,) = torch.autograd.grad(expected.sum(), logits)
    assert torch.allclose(grad, plain)
    assert grad.count_nonzero()


def test_targeted_dlr_of_a_class_that_is_ruled_out_is_that_of_the_last_one_left() -> (
    None
):
    logits = torch.tensor([[5.0, 3.0, 2.0, 0.0, -torch.inf]])
    labels, targets = torch.tensor([0]), torch.tensor([4])
    found = losses.targeted_dlr(logits, labels, targets)
    assert torch.equal(found, losses.targeted_dlr(logits, labels, targets - 1))
    single = torch.tensor([[5.0, -torch.inf, -torch.inf]])
    assert losses.targeted_dlr(single, labels, labels + 1).isfinite().all()


def test_classes_that_are_ruled_out_do_not_count() -> None:
    target, other = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    masked = torch.tensor([True, False, False, True])
    pair = [each.masked_fill(masked, -torch.inf) for each in (target, other)]
    left = [each[:, ~masked] for each in (target, other)]
    found, expected = losses.kl_divergence(*pair), losses.kl_divergence(*left)
    assert torch.allclose(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), (target, other)),
        torch.autograd.grad(expected.sum(), (target, other)),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-6)
    # What only the second one rules out is infinitely far away, as it should be.
    assert losses.kl_divergence(target, pair[1]).isposinf().all()
