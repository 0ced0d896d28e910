from __future__ import annotations

from lightly_adv.doctor import Diagnosis
from lightly_adv.evaluation.checks import Check

CHECKS = [
    Check("images", "PASS", "fine."),
    Check("batch norm", "WARN", "word " * 40, "Do something about it. " * 8),
    Check("batch norm", "PASS", "fine."),
    Check("loss", "FAIL", "it falls.", traceback="Traceback of it"),
]


def test_the_worst_status_of_a_check_counts() -> None:
    diagnosis = Diagnosis("Own", CHECKS)
    assert diagnosis.statuses == {
        "images": "PASS",
        "batch norm": "WARN",
        "loss": "FAIL",
    }
    assert not diagnosis.ok
    assert Diagnosis("Own", CHECKS[:3]).ok
    assert diagnosis.tracebacks == ["Traceback of it"]


def test_the_table_is_aligned_and_narrow() -> None:
    text = str(Diagnosis("Own; 2 views", [*CHECKS, Check("cost", "SKIP", "no batch")]))
    lines = text.splitlines()
    assert lines[:3] == ["Own; 2 views", "", "PASS  images         fine."]
    assert all(len(line) <= 88 for line in lines)
    assert all(each == each.rstrip() for each in lines)
    remedy = next(at for at, line in enumerate(lines) if "->" in line)
    assert lines[remedy].startswith(" " * 21 + "-> Do something")
    assert lines[remedy + 1].startswith(" " * 24 + "it.")
    assert lines[-2:] == [
        "2 PASS, 1 WARN, 1 FAIL.",
        "Not examined, for reasons above: cost.",
    ]
