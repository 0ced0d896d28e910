from __future__ import annotations

import pytest
import torch

from lightly_adv.attacks.step_control import StepControl, checkpoints


@pytest.mark.parametrize("steps", [1, 5, 10, 20, 50, 100, 1000])
def test_checkpoints_are_those_of_the_paper(steps: int) -> None:
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        period = shares[-1] - shares[-2]
        shares.append(shares[-1] + max(period - 0.03, 0.06))
    expected = {int(-(-round(100 * p) * steps // 100)) for p in shares[1:] if p <= 1}
    found = checkpoints(steps)
    assert found == sorted(expected)
    assert found[-1] <= steps


def run(losses: list[float], *, steps: int = 10) -> list[float]:
    control = StepControl(torch.tensor([losses[0]]), steps=steps, step_size=8.0)
    sizes = []
    for step, loss in enumerate(losses[1:], start=1):
        control.observe(torch.tensor([loss]))
        control.halve(step)
        sizes.append(control.step_size.item())
    return sizes


def test_a_loss_that_rises_keeps_its_step_size() -> None:
    assert run([float(step) for step in range(11)])[-1] == 8.0


def test_a_loss_that_falls_halves_it_at_every_checkpoint() -> None:
    sizes = run([-float(step) for step in range(11)])
    marks = checkpoints(10)
    expected = [8.0 / 2 ** sum(mark <= step for mark in marks) for step in range(1, 11)]
    assert sizes == expected


def test_a_loss_that_rises_below_its_best_is_stuck() -> None:
    # Three rises of three, but none of them beats the start.
    assert checkpoints(10)[0] == 3
    assert run([10.0, 1.0, 2.0, 3.0])[-1] == 4.0
    assert run([0.0, 1.0, 2.0, 3.0])[-1] == 8.0


def test_every_sample_has_a_step_size_of_its_own() -> None:
    control = StepControl(torch.zeros(3), steps=3, step_size=1.0)
    better = control.observe(torch.tensor([1.0, -1.0, 2.0]))
    assert better.tolist() == [True, False, True]
    halved = control.halve(1)
    assert halved is not None
    assert halved.tolist() == [False, True, False]
    control.keep(torch.tensor([1, 2]))
    assert control.step_size.tolist() == [0.5, 1.0]
    assert control.best.tolist() == [0.0, 2.0]
