from __future__ import annotations

import pytest

from lightly_adv.evaluation.checks import significance


@pytest.mark.parametrize("total", [1, 2, 5, 24, 64, 1000])
def test_a_false_alarm_is_as_rare_as_promised(total: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    most = significance.allowed(total)
    assert stats.binom.sf(most, total, significance.SHARE) < significance.LEVEL
    assert stats.binom.sf(most - 1, total, significance.SHARE) >= significance.LEVEL


def test_a_fifth_of_the_images_in_doubt_is_seen_as_a_rule() -> None:
    stats = pytest.importorskip("scipy.stats")
    assert stats.binom.sf(significance.allowed(64), 64, 0.2) > 0.9
    assert stats.binom.sf(significance.allowed(24), 24, 0.3) > 0.85


def test_one_image_proves_nothing() -> None:
    assert significance.allowed(1) == 1
    assert significance.judge("a", 1, 1, message="f", remedy="r").status == "PASS"


def test_a_pass_has_no_remedy_and_both_have_the_numbers() -> None:
    passed = significance.judge(
        "a", 1, 24, message="f", remedy="r", values={"steps": 3}
    )
    warned = significance.judge("a", 5, 24, message="f", remedy="r")
    assert (passed.status, passed.remedy) == ("PASS", "")
    assert (warned.status, warned.remedy) == ("WARN", "r")
    assert passed.values == {"count": 1, "of": 24, "allowed": 4, "steps": 3}
