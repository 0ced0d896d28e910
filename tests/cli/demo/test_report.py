"""The table and the page of the demo, from results that are made up."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lightly_adv.cli.demo import report
from lightly_adv.cli.demo.arms import ARMS, Settings
from tests.cli.demo.made_up import run_arm
from tests.evaluation.reading import read

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    results = {
        seed: {arm: run_arm(arm, seed, Settings()) for arm in ARMS} for seed in (0, 1)
    }
    report.write(folder, results, Settings(), seconds=1.0)
    return folder


def test_the_page_has_the_table_of_the_terminal(out: Path) -> None:
    cells = read((out / "report.html").read_text())
    width = len(report.COLUMNS)
    rows = [cells[start : start + width] for start in range(0, 4 * width, width)]
    assert rows[0] == list(report.COLUMNS.values())
    assert [row[0] for row in rows[1:]] == list(ARMS.values())
    assert [row[1] for row in rows[1:]] == ["75.5"] * 3
    # What no seed reached is a dash.
    assert [row[3] for row in rows[1:]] == ["2.0", "-", "-"]


def test_the_page_loads_nothing(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|url\(|srcset", page)
    assert page.count("<li>few images</li>") == 1
    assert "8 \u2717" in page
    for name in ("accuracy.png", "curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_settings_have_eps_as_a_fraction(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert "<tr><td>eps</td><td>32/255</td></tr>" in page
    content = json.loads((out / "report.json").read_text())
    assert content["settings"]["eps"] == 32 / 255
    assert content["rows"][0]["seeds"]["1"]["clean_accuracy"] == 76.0


def test_few_seeds_are_said_to_be_few(out: Path) -> None:
    assert "There are few seeds" in (out / "report.html").read_text()
    assert "There are few seeds" in (out / "report.json").read_text()
