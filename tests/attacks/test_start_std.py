"""Starts that are drawn from a normal distribution around the view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from lightly_adv import FGSM, PGD, ThreatModel
from lightly_adv.testing import NORMALIZE, AttackTester
from lightly_adv.types import Norm


@pytest.mark.parametrize("check", AttackTester.checks())
def test_it_passes_the_table(check: str) -> None:
    # A sparse L1 step spends itself on pixels that the noise moved off their bounds.
    norms: tuple[Norm, ...] = ("Linf", "L2")
    norms = norms if check == "check_raises_loss" else (*norms, "L1")
    tester = AttackTester(lambda each: PGD(each, steps=3, start_std=0.001), norms=norms)
    tester.run(check)


def starts(**options: Any) -> tuple[Tensor, Tensor]:
    """Return grey views, and where the first gradient is taken, in pixels."""
    seen: list[Tensor] = []

    def objective(views: Sequence[Tensor]) -> Tensor:
        seen.append(views[0].detach())
        return views[0].square().sum()

    views = torch.full((4, 3, 32, 32), 0.5)
    attack = PGD(ThreatModel(eps=0.1), steps=1, **options)
    attack(objective, [views], generator=Generator().manual_seed(0))
    return views, seen[0]


def test_the_noise_has_the_spread_asked_for() -> None:
    views, first = starts(start_std=0.001)
    delta = first - views
    assert delta.mean().abs() < 5e-5
    assert delta.std() == pytest.approx(0.001, rel=0.02)
    assert 0.003 < delta.abs().max() < 0.006  # of 12,288 normal draws
    uniform = (lambda pair: pair[1] - pair[0])(starts())
    assert uniform.std() == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_wide_noise_is_cut_to_the_ball() -> None:
    views, first = starts(start_std=0.5)
    assert (first - views).abs().max() == pytest.approx(0.1)


def test_the_noise_is_in_pixels_whatever_the_normalisation() -> None:
    views = torch.zeros(2, 3, 16, 16)
    threat_model = ThreatModel(eps=0.1, normalize=NORMALIZE)
    box = threat_model.box(views)
    delta = threat_model.random_start(box, std=0.01, generator=Generator())
    assert delta.std() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("std", [0, -0.1, float("nan"), float("inf")])
def test_a_spread_that_is_none_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match=r"start_std=.* must be finite and positive"):
        PGD(ThreatModel(), start_std=std)


def test_a_spread_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"start_std='small' is a str; expected"):
        PGD(ThreatModel(), start_std="small")  # type: ignore[arg-type]


def test_a_spread_without_a_random_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start_std=0.001 came with random_start=F"):
        FGSM(ThreatModel(), start_std=0.001)
