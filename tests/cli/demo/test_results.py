"""The table and the page of the demo, from results that are made up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightly_adv.cli.demo import results
from lightly_adv.cli.demo.settings import NAMES, SCRATCH, Settings

pytest.importorskip("matplotlib")


def of_arm(arm: str) -> dict[str, Any]:
    """Return what one seed finds; only scratch reaches its own best accuracy."""
    accuracies = {"clean_accuracy": 75.0, "robust_accuracy": 20.0}
    facts = {"suite": "pgd-20", "norm": "Linf", "eps": 32 / 255, "eps_text": "32/255"}
    row = {"name": NAMES[arm], "num_samples": 10, "warnings": [], **facts, **accuracies}
    numbers = np.arange(10)
    images = np.zeros((10, 3, 8, 8), dtype=np.float32)
    return {
        **row,
        "curve": [row],
        "val_robust_accuracy": [10.0, 30.0 if arm == SCRATCH else 20.0],
        "pretraining_seconds": 1.0,
        "fine_tuning_seconds": 2.0,
        "images": {
            "clean": images,
            "adversarial": images,
            **dict.fromkeys(("labels", "before", "after"), numbers),
        },
    }


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    found = {seed: {arm: of_arm(arm) for arm in NAMES} for seed in (0, 1)}
    results.write(folder, found, Settings(), seconds=1.0)
    return folder


def test_the_page_has_the_headings_of_the_terminal(out: Path) -> None:
    page = (out / "report.html").read_text()
    headings = re.findall(r"<th[^>]*>([^<]*)</th>", page)
    assert headings == list(results.COLUMNS.values())


def test_what_no_seed_reached_is_a_dash(out: Path) -> None:
    page = (out / "report.html").read_text()
    rows = re.findall(r"<tr>(<td class=\"text\">.*)</tr>", page)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    assert [row[3] for row in cells] == ["2.0", "-", "-"]


def test_settings_have_eps_as_a_fraction(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert "<tr><td>eps</td><td>32/255</td></tr>" in page
    assert json.loads((out / "report.json").read_text())["settings"]["eps"] == 32 / 255


def test_few_seeds_are_said_to_be_few(out: Path) -> None:
    assert "Few seeds decide this" in (out / "report.html").read_text()
    assert "Few seeds decide this" in (out / "report.json").read_text()
