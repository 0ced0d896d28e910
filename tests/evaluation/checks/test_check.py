"""One finding."""

from __future__ import annotations

import json

import pytest
import torch

from lightly_adv import ThreatModel
from lightly_adv.evaluation import RobustnessReport
from lightly_adv.evaluation.checks import Check


def test_what_is_written() -> None:
    check = Check("more steps", "WARN", "3 of 64 fell", "Take more.", {"fell": 3.0})
    flags = {"clean": torch.tensor([True]), "pgd": torch.tensor([True])}
    report = RobustnessReport("pgd-20", ThreatModel(eps=0.1), flags, checks=[check])
    (written,) = json.loads(report.to_json())["checks"]
    assert written == {
        "name": "more steps",
        "status": "WARN",
        "figure": "3 of 64 fell",
        "remedy": "Take more.",
        "values": {"fell": 3.0},
    }
    assert check.warning == "more steps: 3 of 64 fell. Take more."


def test_unknown_status() -> None:
    with pytest.raises(ValueError, match="'FAIL' is unknown; expected one of"):
        Check("more steps", "FAIL", "")  # type: ignore[arg-type]
