"""Checks, and how one is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import get_args

import pytest
import torch

from lightly_adv import ThreatModel
from lightly_adv.evaluation import RobustnessReport
from lightly_adv.evaluation.checks import Check, SkipError, inspection
from lightly_adv.evaluation.checks.check import Status, run_check


def test_what_is_written() -> None:
    check = Check("more steps", "WARN", "3 of 64 fell", "Take more.", {"fell": 3.0})
    flags = {"clean": torch.tensor([True]), "pgd": torch.tensor([True])}
    report = RobustnessReport(
        suite="pgd-20",
        threat_model=ThreatModel(eps=0.1),
        flags=flags,
        checks=[check],
    )
    (written,) = json.loads(report.to_json())["checks"]
    assert written == {
        "name": "more steps",
        "status": "WARN",
        "message": "3 of 64 fell",
        "remedy": "Take more.",
        "values": {"fell": 3.0},
    }
    assert check.warning == "more steps: 3 of 64 fell. Take more."


def test_unknown_status() -> None:
    with pytest.raises(ValueError, match=r"'BAD' is unknown.*'FAIL'"):
        Check("more steps", "BAD", "")  # type: ignore[arg-type]


def no_batch(context: object) -> Check:
    raise SkipError("there is no batch")


def two(context: str) -> Iterator[Check]:
    yield Check("two", "PASS", context)
    raise KeyError("second")


def failed(name: str, error: BaseException) -> Check:
    return Check(name, "FAIL", type(error).__name__)


def test_a_check_returns_one_result_or_several_or_raises() -> None:
    assert list(run_check(no_batch, 1, on_error=failed)) == [
        Check("no batch", "SKIP", "there is no batch")
    ]
    # What was reported before an exception is kept.
    assert list(run_check(two, "one", on_error=failed)) == [
        Check("two", "PASS", "one"),
        Check("two", "FAIL", "KeyError"),
    ]


def test_checks_that_warn_or_fail_are_warnings_of_a_report() -> None:
    checks = [Check(each, each, "m") for each in get_args(Status)]
    assert inspection.warnings_of(checks) == ["WARN: m.", "FAIL: m."]
