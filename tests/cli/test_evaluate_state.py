"""Evaluations on the command line that are interrupted, and strong suites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from lightly_adv.cli.main import main
from lightly_adv.evaluation import classification
from tests.cli.test_evaluate import finetune

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    return finetune(out, "--model.backbone", "resnet8_tiny")


def evaluate(checkpoint: Path, *options: object) -> int:
    return main(["evaluate", str(checkpoint), *map(str, options)])


def test_an_interrupted_evaluation_goes_on(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out = tmp_path / "whole.json", tmp_path / "new" / "report.json"
    options = ("--suite", "pgd-20", "--max_samples", 28, "--curve_samples", 6)
    done: list[int] = []
    stop_behind = 0
    attack_batch = classification.attack_batch

    def counted(model: Any, images: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(done) == stop_behind:
            raise KeyboardInterrupt
        done.append(len(images))
        return attack_batch(model, images, *args, **kwargs)

    monkeypatch.setattr(classification, "attack_batch", counted)
    stop_behind = 1000
    assert evaluate(checkpoint, *options, "--out", whole) == 0
    once = done.copy()
    done.clear()
    stop_behind = 2
    assert evaluate(checkpoint, *options, "--out", out) == 130
    state = out.with_name("report.json.state")
    assert len(json.loads(state.read_text())["batches"]) == 2
    assert not out.exists()
    capsys.readouterr()
    assert evaluate(checkpoint, *options, "--seed", 1, "--out", out) == 1
    assert "differs in its seed" in capsys.readouterr().err
    stop_behind = 7  # in the curves, which come behind the four batches
    assert evaluate(checkpoint, *options, "--out", out) == 130
    assert not out.exists()
    stop_behind = 1000
    assert evaluate(checkpoint, *options, "--out", out) == 0
    assert f"going on from {state}" in capsys.readouterr().out
    assert out.read_text() == whole.read_text()
    assert json.loads(out.read_text())["predictions"]["attacked"]
    assert done == once, "an image was evaluated twice"
    names = {path.name for path in out.parent.iterdir()}
    assert names == {"report.html", "report.json", "report.md"}
    page = (out.parent / "report.html").read_text()
    assert page == whole.with_suffix(".html").read_text()


def test_restarts_are_chosen_where_there_are_any(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--max_samples", 3, "--restarts", 2, "--curve_samples", 0)
    for suite in ("pgd-20", "apgd"):
        out = tmp_path / f"{suite}.json"
        assert evaluate(checkpoint, "--suite", suite, *few, "--out", out) == 0
        assert f"({suite}x2, Linf 8/255, 3 images)" in capsys.readouterr().out
    notes = json.loads((tmp_path / "apgd.json").read_text())["notes"]
    assert any(
        "the targeted DLR loss takes 4 classes; with 2" in note for note in notes
    )
    assert evaluate(checkpoint, "--suite", "smoke", *few) == 1
    shown = capsys.readouterr().err
    assert "'smoke' has no --restarts; leave it out" in shown


def test_a_missing_extra_is_told_in_one_line(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert evaluate(checkpoint, "--suite", "autoattack-standard") == 1
    shown = capsys.readouterr().err.splitlines()
    assert "pip install lightly-adv[autoattack]" in shown[-1]
