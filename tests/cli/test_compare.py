"""`lightly-adv compare`, on reports as they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightly_adv.cli.main import main
from tests.evaluation.test_comparison import A, B


@pytest.fixture
def reports(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, report in zip(paths, (A, B), strict=True):
        report.save(path)
    return list(map(str, paths))


def test_table_and_verdict(
    reports: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "found.json"
    assert main(["compare", *reports, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"A: a ({reports[0]})"
    assert lines[2].split() == ["accuracy", "A", "%", "B", "%", "B", "-", "A"]
    assert lines[3].split()[:4] == ["clean", "75.0", "75.0", "+0.0"]
    assert lines[4].split()[:4] == ["after", "fgsm", "50.0", "55.0"]
    assert lines[5].split()[:4] == ["robust", "25.0", "40.0", "+15.0"]
    assert lines[6].startswith("B better by 15.0 points [")
    assert lines[6].endswith("(two, Linf 8/255, 400 images)")
    assert json.loads(out.read_text())["names"] == ["a", "b"]
    assert main(["compare", *reports, "--out", str(out)]) == 1
    assert "choose another file with --out" in capsys.readouterr().err


def test_refusals_are_one_line(
    reports: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(A.to_json())
    del content["data"]
    Path(reports[0]).write_text(json.dumps(content))
    assert main(["compare", *reports]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.json is not" in line
    assert "data is None" in line
