"""`lightly-adv unforeseen`, on a classifier of tiny images."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lightly_adv.cli.main import main
from lightly_adv.evaluation.unforeseen import evaluate
from tests.cli.test_evaluate import finetune

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = ("--attacks", "fog", "snow", "--steps", "1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    return finetune(out, "--model.backbone", "resnet8_tiny")


def unforeseen(checkpoint: Path, *options: object) -> int:
    return main(["unforeseen", str(checkpoint), *map(str, options)])


def test_table_report_and_figure(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert unforeseen(checkpoint, *QUICK, "--max_samples", 12) == 0
    name = "unforeseen-last-fog-snow-1-steps-12-images.json"
    out = checkpoint.parents[1] / name
    content = json.loads(out.read_text())
    assert [each["name"] for each in content["members"]] == ["fog", "snow"]
    assert content["checkpoints"] == [str(checkpoint)]
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert content["checkpoint_sha256"] == {str(checkpoint): digest}
    assert content["order"] == "spread over the classes"
    assert len(content["flags"]["fog"]) == 6
    assert out.with_suffix(".png").stat().st_size > 1000
    assert not out.with_name(f"{name}.state").exists()
    shown = capsys.readouterr().out
    assert "attack  eps 1  eps 2" in shown
    assert "2 unforeseen attacks, 1 steps, 12 images" in shown
    assert "warning: there are only 12 images" in shown
    assert unforeseen(checkpoint, *QUICK, "--max_samples", 12) == 1
    assert "choose another file with --out" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = ("--attacks", "fog", "--steps", "1", "--max_samples", 12)
    assert unforeseen(checkpoint, *few, "--out", tmp_path / "whole.json") == 0
    attack_images, done = evaluate.attack_images, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        done.append(1)
        if len(done) > 8:  # of 6 for each batch
            raise KeyboardInterrupt
        return attack_images(*args, **kwargs)

    out = tmp_path / "new" / "report.json"
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "attack_images", interrupted)
        assert unforeseen(checkpoint, *few, "--out", out) == 130
    assert not out.exists()
    capsys.readouterr()
    assert unforeseen(checkpoint, *few, "--out", out) == 0
    assert "going on from" in capsys.readouterr().out
    assert out.read_text() == (tmp_path / "whole.json").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--attacks", "fogg"], "Did you mean 'fog'?"),
        (["--attacks", "jpeg_l1"], "8 x 8; the JPEG attacks need"),
        (["--steps", "0"], "steps=0 is too small"),
        (["--max_samples", "-3"], "max_samples=-3"),
    ],
)
def test_refusals(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    assert unforeseen(checkpoint, *options, "--out", tmp_path / "report.json") == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_there_is_no_figure(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    few = (*QUICK, "--max_samples", 8, "--out", tmp_path / "report.json")
    assert unforeseen(checkpoint, *few) == 0
    assert "pip install lightly-adv[plot]" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
