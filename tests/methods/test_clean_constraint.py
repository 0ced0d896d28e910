"""The bound on clean features against a formula written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightly_adv.functional import feature_distances
from lightly_adv.functional.feature_distances import squared_l2
from lightly_adv.methods.clean_constraint import CleanConstraint
from lightly_adv.methods.fidelity import (
    AttackedOnly,
    CleanDistance,
    Consistency,
    Features,
)


def tensors() -> list[Tensor]:
    return list(torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)))


def features() -> Features:
    return Features(*tensors())


def test_the_loss() -> None:
    constraint = CleanConstraint(rho=0.1, start=3.0)
    attacked, target, clean = tensors()
    expected = []
    for a, t, c in zip(attacked.tolist(), target.tolist(), clean.tolist(), strict=True):
        near = sum((x - y) ** 2 for x, y in zip(a, t, strict=True))
        moved = sum((x - y) ** 2 for x, y in zip(c, t, strict=True))
        expected.append(near + 3.0 * (moved - 0.1 * sum(x**2 for x in t)))
    found = constraint.loss(Features(attacked, target, clean), squared_l2)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_multiplier_follows_its_rule() -> None:
    constraint = CleanConstraint(rho=0.1, start=2.0, lr=0.3)
    expected = 2.0
    for clean in (0.5, 0.15, 0.1, 0.02, 0.0):
        constraint.update(torch.tensor(clean))
        excess = math.log(clean / 0.1) if clean else -math.inf
        expected *= math.exp(0.3 * max(-1.0, min(excess, 1.0)))
        assert constraint.multiplier.item() == pytest.approx(expected, rel=1e-5)


def test_it_holds_a_bound_that_would_be_broken_without() -> None:
    """A feature that gains by moving away settles where it has moved by rho."""
    moved = torch.zeros(1, 1, requires_grad=True)
    constraint = CleanConstraint(rho=0.04, lr=0.02)
    optimizer = torch.optim.SGD([moved], lr=0.05)
    target = torch.ones(1, 1)
    for _ in range(3000):
        parts = Features(moved + 0.0, target, target + moved)
        loss = constraint.loss(parts, squared_l2).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        constraint.update(moved.detach().square().mean())
    assert moved.square().item() == pytest.approx(0.04, abs=0.004)


def test_the_multiplier_is_kept_in_the_state() -> None:
    constraint, other = CleanConstraint(), CleanConstraint()
    constraint.update(torch.tensor(1.0))
    other.load_state_dict(constraint.state_dict())
    assert torch.equal(other.multiplier, constraint.multiplier)


def test_the_other_losses() -> None:
    parts = features()
    attacked, target, clean = tensors()
    near, moved = squared_l2(attacked, target), squared_l2(clean, target)
    assert torch.equal(AttackedOnly().loss(parts, squared_l2), near)
    assert torch.equal(CleanDistance(3.0).loss(parts, squared_l2), near + 3 * moved)
    apart = squared_l2(attacked, clean)
    assert torch.equal(Consistency(3.0).loss(parts, squared_l2), moved + 3 * apart)


def test_deacl_up_to_a_constant() -> None:
    attacked, target, clean = tensors()
    cos = torch.nn.functional.cosine_similarity
    expected = -cos(clean, target) - 2 * cos(attacked, clean)
    found = Consistency(2.0).loss(features(), feature_distances.cosine)
    assert torch.allclose(found - 3, expected, atol=1e-6)


@pytest.mark.parametrize("rho", [0, -0.1, 1.01, float("nan")])
def test_shares_that_are_none_are_refused(rho: float) -> None:
    with pytest.raises(ValueError, match=rf"rho={rho}.*\(0, 1\].*0.05"):
        CleanConstraint(rho)


def test_other_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"start=0.*positive"):
        CleanConstraint(start=0)
    with pytest.raises(ValueError, match=r"weight=-1"):
        CleanDistance(-1)
    with pytest.raises(ValueError, match="needs_clean"):
        CleanDistance().loss(features()._replace(clean=None), squared_l2)
