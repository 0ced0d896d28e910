from __future__ import annotations

import pytest

from lightly_adv.cli import console


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain("first\n  second")
    assert capsys.readouterr().err == "lightly-adv: error: first second\n"


def test_tables_are_aligned() -> None:
    rows: list[dict[str, object]] = [
        {"name": "long name", "x": 12.345},
        {"name": "b", "x": None, "y": 3},
    ]
    found = console.table(rows, {"name": "name", "x": "x %", "y": "y"})
    assert found.splitlines() == [
        "name        x %  y",
        "long name  12.3  -",
        "b             -  3",
    ]
