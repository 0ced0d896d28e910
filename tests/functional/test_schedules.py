from __future__ import annotations

import pickle

import pytest

from lightly_adv.functional.schedules import Ramp, StrengthSchedule, value_at


@pytest.mark.parametrize(
    ("progress", "value"),
    [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (0.9, 0.5), (1.0, 0.5)],
)
def test_a_ramp_is_a_line_and_then_constant(progress: float, value: float) -> None:
    assert Ramp(1.0, 0.5, until=0.5)(progress) == value


def test_a_ramp_may_begin_at_its_end() -> None:
    assert Ramp(1.0, 0.5, until=0.0)(0.0) == 0.5


def test_ramps_can_be_pickled() -> None:
    ramp = Ramp(0.0, 1.0)
    assert pickle.loads(pickle.dumps(ramp)) == ramp


@pytest.mark.parametrize("until", [-0.1, 1.1])
def test_until_is_a_share_of_training(until: float) -> None:
    with pytest.raises(ValueError, match=f"until={until}"):
        Ramp(0.0, 1.0, until=until)


def test_numbers_stay_what_they_are() -> None:
    assert value_at(0.3, 0.9) == 0.3
    assert value_at(lambda progress: 1 - progress, 0.75) == 0.25


@pytest.mark.parametrize(
    ("epoch", "strength"), [(1, 1.0), (50, 1.0), (51, 0.95), (951, 0.05), (1000, 0.05)]
)
def test_the_strength_of_dynacl(epoch: int, strength: float) -> None:
    """Epochs are counted from 1 in the paper."""
    assert StrengthSchedule(1000, 50)(epoch - 1) == pytest.approx(strength)


@pytest.mark.parametrize(("epochs", "period"), [(0, 0), (10, 0), (10, 11)])
def test_periods_that_do_not_fit_are_refused(epochs: int, period: int) -> None:
    with pytest.raises(ValueError, match=f"epochs={epochs} and period={period}.*20"):
        StrengthSchedule(epochs, period)
