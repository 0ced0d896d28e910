from __future__ import annotations

from typing import Any

import pytest
import torch

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule

FINAL = PGD(ThreatModel(eps=0.08), steps=5, step_size=0.02)


@pytest.mark.parametrize(
    ("progress", "eps"), [(0.0, 0.02), (0.25, 0.05), (0.5, 0.08), (1.0, 0.08)]
)
def test_eps_and_step_grow_together(progress: float, eps: float) -> None:
    now = AttackSchedule(FINAL, ramp=0.5, start_eps=0.02).at(progress)
    assert now.threat_model.eps == pytest.approx(eps)
    assert now.resolved_step_size == pytest.approx(eps / 4)
    assert now.steps == 5


@pytest.mark.parametrize(("progress", "steps"), [(0.0, 1), (0.25, 3), (0.5, 5)])
def test_steps_grow(progress: float, steps: int) -> None:
    assert AttackSchedule(FINAL, ramp=0.5, start_steps=1).at(progress).steps == steps


def test_the_default_step_follows_eps() -> None:
    schedule = AttackSchedule(PGD(ThreatModel(eps=0.08)), ramp=0.4)
    assert schedule.at(0.2).resolved_step_size == pytest.approx(0.01)
    assert schedule.evaluations == 10


def test_no_ramp_is_the_attack_itself() -> None:
    assert AttackSchedule(FINAL, ramp=0.0).at(0.0) is FINAL


def test_called_directly_it_is_the_final_attack() -> None:
    views = [torch.rand(2, 3, 4, 4)]
    first, second = (
        each(lambda v: v[0].square().sum(), views, generator=torch.Generator())
        for each in (FINAL, AttackSchedule(FINAL))
    )
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ramp": 1.5}, r"ramp=1.5 is not a share of training"),
        ({"ramp": float("nan")}, r"ramp=nan is not a share"),
        (
            {"start_eps": 0.1},
            r"start_eps=0.1 must lie between 0 and the final eps=0.08",
        ),
        ({"start_steps": 6}, r"start_steps=6 must lie between 1 and the final steps=5"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttackSchedule(FINAL, **arguments)
