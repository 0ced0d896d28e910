from __future__ import annotations

import pytest

from lightly_adv.evaluation import statistics


# Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I.
@pytest.mark.parametrize(
    ("right", "count", "expected"),
    [
        (81, 263, (25.53, 36.62)),
        (15, 148, (6.24, 16.05)),
        (0, 20, (0.0, 16.11)),
        (1, 29, (0.61, 17.18)),
    ],
)
def test_against_a_printed_table(
    right: int, count: int, expected: tuple[float, float]
) -> None:
    assert statistics.wilson(right, count) == pytest.approx(expected, abs=0.006)


def test_both_ends_are_alike() -> None:
    assert statistics.wilson(29, 29)[1] == 100.0
    low, high = statistics.wilson(28, 29)
    assert (100 - high, 100 - low) == pytest.approx(statistics.wilson(1, 29))


@pytest.mark.parametrize(("right", "count"), [(0, 0), (3, 2), (-1, 2)])
def test_what_was_not_counted_is_refused(right: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{right} of {count} images; expected"):
        statistics.wilson(right, count)
