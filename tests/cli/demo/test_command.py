"""The processes of the demo: progress, results in order, errors."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from lightly_adv.cli.demo import command
from tests.cli.demo import made_up

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow


def test_results_are_written_and_older_ones_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run_arm", made_up.run_counted)
    out = tmp_path / "demo"
    out.mkdir()
    (out / "old").touch()
    assert command.run(["--out", str(out), "--seeds", "3"]) == 0
    assert (tmp_path / "demo-1" / "old").exists()
    assert (out / "report.html").exists()
    shown = capsys.readouterr().out
    assert "seed 3, scratch: clean 78.0 %, robust 20.0 %" in shown
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("run_arm", "error"),
    [(made_up.fail_or_sleep, ValueError), (made_up.interrupt, KeyboardInterrupt)],
)
def test_an_error_or_ctrl_c_ends_all_trainings(
    run_arm: Any,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "run_arm", run_arm)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    with pytest.raises(error):
        command.run(["--out", str(tmp_path / "demo"), "--seeds", "0"])
    assert not multiprocessing.active_children()
    assert not (tmp_path / "demo").exists()
