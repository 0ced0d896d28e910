from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lightly_adv.functional import norms
from lightly_adv.types import Norm

NORMS: tuple[Norm, ...] = ("Linf", "L2", "L1")
ORDER = {"Linf": np.inf, "L2": 2, "L1": 1}


@pytest.mark.parametrize("norm", NORMS)
def test_norm_is_that_of_numpy(norm: Norm) -> None:
    delta = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    expected = [np.linalg.norm(each.flatten().numpy(), ORDER[norm]) for each in delta]
    assert norms.norm(delta, norm=norm).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_fill_the_ball_uniformly(norm: Norm) -> None:
    # The share of a uniform n-ball within half of the radius is 2 ** -n.
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(20_000, 3)
    points = norms.random_point(like, norm=norm, radius=0.5, generator=generator)
    sizes = norms.norm(points, norm=norm)
    assert sizes.max() <= 0.5 + 1e-6
    assert (sizes < 0.25).double().mean().item() == pytest.approx(0.125, abs=0.01)
    assert points.mean(0).abs().max() < 0.01
    signs = (points > 0).double().mean(0)
    assert (signs - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_repeat_with_the_generator(norm: Norm) -> None:
    state = torch.get_rng_state()
    first, second = (
        norms.random_point(
            torch.empty(2, 3, 4, 4),
            norm=norm,
            radius=1.0,
            generator=torch.Generator().manual_seed(7),
        )
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_steepest_ascent_attains_the_dual_norm(norm: Norm) -> None:
    # max over |s| <= a of <s, g> is a * |g|_dual.
    grad = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    step = norms.steepest_ascent(grad, norm=norm, step_size=0.3)
    gain = (step * grad).flatten(1).sum(1)
    dual: Norm = "L1" if norm == "Linf" else "L2"
    assert torch.allclose(gain, 0.3 * norms.norm(grad, norm=dual))
    assert torch.allclose(
        norms.norm(step, norm=norm), torch.tensor(0.3, dtype=torch.float64)
    )


def test_l1_ascent_moves_the_largest_coordinates_equally() -> None:
    grad = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(1))
    step = norms.steepest_ascent(grad, norm="L1", step_size=0.6).flatten(1)
    for moved, slope in zip(step, grad.flatten(1), strict=True):
        largest = sorted(range(300), key=lambda at: -abs(float(slope[at])))[:3]
        expected = torch.zeros(300)
        for at in largest:
            expected[at] = math.copysign(0.2, float(slope[at]))
        assert torch.allclose(moved, expected)


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_gives_no_step(norm: Norm) -> None:
    for length in (1.0, 1e3):
        step = norms.steepest_ascent(
            torch.zeros(2, 3, 4, 4), norm=norm, step_size=length
        )
        assert torch.equal(step, torch.zeros(2, 3, 4, 4))


def test_l2_ascent_survives_tiny_gradients() -> None:
    step = norms.steepest_ascent(torch.full((1, 4), 1e-30), norm="L2", step_size=1.0)
    assert torch.allclose(step, torch.full((1, 4), 0.5))


@settings(max_examples=30, deadline=None)
@given(
    point=st.lists(st.floats(-2, 2), min_size=2, max_size=6),
    radius=st.floats(0.05, 2),
)
def test_l1_projection_is_the_nearest_point(point: list[float], radius: float) -> None:
    delta = torch.tensor([point], dtype=torch.float64)
    found = norms.project(delta, norm="L1", radius=radius)[0].numpy()
    target = np.array(point)
    # Independent: non-negative parts p - q with a linear constraint.
    size = len(point)
    solved = minimize(
        lambda z: float(((z[:size] - z[size:] - target) ** 2).sum()),
        np.zeros(2 * size),
        bounds=[(0, None)] * (2 * size),
        constraints={"type": "ineq", "fun": lambda z: radius - z.sum()},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 300},
    )
    best = solved.x[:size] - solved.x[size:]
    assert np.abs(found).sum() <= radius + 1e-9
    assert ((found - target) ** 2).sum() <= ((best - target) ** 2).sum() + 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_projection_keeps_what_is_inside_bit_for_bit(norm: Norm) -> None:
    delta = torch.randn(3, 2, 4, 4) * 1e-3
    assert torch.equal(norms.project(delta, norm=norm, radius=5.0), delta)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_to_radius_zero_is_zero(norm: Norm) -> None:
    found = norms.project(torch.randn(3, 2, 4, 4), norm=norm, radius=0.0)
    assert torch.count_nonzero(found) == 0


def test_l2_projection_scales() -> None:
    found = norms.project(torch.tensor([[3.0, 4.0]]), norm="L2", radius=1.0)
    assert torch.allclose(found, torch.tensor([[0.6, 0.8]]))


def test_sums_of_integers_are_those_of_floats() -> None:
    ordered = torch.rand(3, 5000).sort(dim=1, descending=True).values
    ordered[2] = 0
    expected = ordered.double().cumsum(dim=1)
    found = norms._integer_cumsum(ordered)
    assert found.dtype == ordered.dtype
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
