from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch import Tensor

from lightly_adv.functional.contrastive import nt_xent, pair_losses


def views(count: int, batch: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(count, batch, 7, generator=generator, dtype=torch.double))


def by_hand(embeddings: list[Tensor], temperature: float) -> list[list[float]]:
    """The losses of all ordered pairs of views, one number after the other."""
    rows = [row / row.norm() for view in embeddings for row in view]
    count, batch = len(embeddings), len(embeddings[0])
    losses = [[0.0] * count for _ in range(count)]
    for anchor, row in enumerate(rows):
        scores = [math.exp(float(row @ other) / temperature) for other in rows]
        others = sum(scores) - scores[anchor]
        for positive in range(anchor % batch, len(rows), batch):
            if positive != anchor:
                loss = -math.log(scores[positive] / others) / batch
                losses[anchor // batch][positive // batch] += loss
    return losses


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_pair_is_what_the_formula_says(count: int) -> None:
    found = pair_losses(views(count), temperature=0.3)
    expected = torch.tensor(by_hand(views(count), 0.3), dtype=torch.double)
    torch.testing.assert_close(found, expected)


def test_two_views_are_lightlys_nt_xent() -> None:
    found = nt_xent(*views(2), temperature=0.2)
    torch.testing.assert_close(found, NTXentLoss(temperature=0.2)(*views(2)))


def test_three_views_of_rocl_are_twice_the_mean() -> None:
    """Its public code sums six pairs for each image and divides by three."""
    losses = by_hand(views(3), 0.5)
    expected = sum(map(sum, losses)) / 3
    assert float(2 * nt_xent(*views(3))) == pytest.approx(expected)


def test_gradients_reach_detached_keys_not_at_all() -> None:
    first, second = (view.requires_grad_() for view in views(2))
    loss = pair_losses([first, second], detach_keys=True)[0, 1]
    moved, kept = torch.autograd.grad(loss, [first, second])
    assert moved.any()
    assert not kept.any()
    # The value is the same.
    same = pair_losses([first, second], detach_keys=True)
    torch.testing.assert_close(same, pair_losses([first, second]))


def test_gradients_are_those_of_the_formula() -> None:
    leaves = [view.requires_grad_() for view in views(3, batch=3)]
    assert torch.autograd.gradcheck(nt_xent, leaves)


def test_half_precision_is_computed_in_single() -> None:
    halves = [view.bfloat16() for view in views(2)]
    assert nt_xent(*halves).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong",
    [
        [torch.rand(4, 3)],
        [torch.rand(4, 3), torch.rand(5, 3)],
        [torch.rand(4, 3, 2), torch.rand(4, 3, 2)],
    ],
)
def test_other_shapes_are_refused(wrong: list[Tensor]) -> None:
    with pytest.raises(ValueError, match=r"\(4, 3.*two or more views"):
        pair_losses(wrong)
