"""`lightly-adv corruptions`, on a classifier of tiny images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightly_adv.cli.main import main
from lightly_adv.evaluation.corruptions import corrupt, evaluate
from tests.cli.test_evaluate import finetune

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = ("--corruptions", "fog", "contrast", "--severities", "1", "5")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    return finetune(out, "--model.backbone", "resnet8_tiny")


def corruptions(checkpoint: Path, *options: object) -> int:
    return main(["corruptions", str(checkpoint), *map(str, options)])


def test_table_report_and_figure(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert corruptions(checkpoint, *QUICK, "--max_samples", 12) == 0
    name = "corruptions-last-fog-contrast-at-1-5-12-images.json"
    out = checkpoint.parents[1] / name
    content = json.loads(out.read_text())
    assert [each["name"] for each in content["members"]] == ["fog", "contrast"]
    assert content["checkpoints"] == [str(checkpoint)]
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert content["checkpoint_sha256"] == {str(checkpoint): digest}
    assert content["order"] == "spread over the classes"
    assert [len(row) for row in content["flags"]["fog"]] == [12, 12]
    assert "| fog |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").stat().st_size > 1000
    assert not out.with_name(f"{name}.state").exists()
    shown = capsys.readouterr().out
    assert "corruption      1" in shown
    assert "C-style, severities 1 5, 12 images" in shown
    assert "warning: the images are 8 x 8" in shown
    assert corruptions(checkpoint, *QUICK, "--max_samples", 12) == 1
    assert "choose another file with --out" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".md", ".png"])
def test_nothing_is_overwritten(checkpoint: Path, tmp_path: Path, suffix: str) -> None:
    mine = tmp_path / f"report{suffix}"
    mine.write_text("mine")
    assert corruptions(checkpoint, *QUICK, "--out", tmp_path / "report.json") == 1
    assert mine.read_text() == "mine"


def test_an_interrupted_run_goes_on(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = (*QUICK, "--max_samples", 12)
    assert corruptions(checkpoint, *few, "--out", tmp_path / "whole.json") == 0
    done = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        done.append(1)
        if len(done) > 6:  # of 4 for each batch
            raise KeyboardInterrupt
        return corrupt(*args, **kwargs)

    out = tmp_path / "new" / "report.json"
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "corrupt", interrupted)
        assert corruptions(checkpoint, *few, "--out", out) == 130
    assert not out.exists()
    capsys.readouterr()
    assert corruptions(checkpoint, *few, "--out", out) == 0
    assert "going on from" in capsys.readouterr().out
    assert out.read_text() == (tmp_path / "whole.json").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--corruptions", "fogg"), "Did you mean 'fog'"),
        (("--corruptions", "fog", "all"), "Unknown corruption 'all'"),
        (("--severities", "6"), "severities=[6]"),
        (("--cifar_c", "nowhere"), "there is no folder nowhere"),
        (("--max_samples", "0"), "max_samples=0 is too small"),
    ],
)
def test_refusals(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    words: str,
) -> None:
    out = tmp_path / "new" / "report.json"
    assert corruptions(checkpoint, *options, "--out", out) == 1
    assert words in capsys.readouterr().err
    assert not out.parent.exists() or not any(out.parent.iterdir())


def test_published_files_need_their_images(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "labels.npy", np.tile(np.arange(32) % 2, 5))
    np.save(tmp_path / "fog.npy", np.zeros((160, 32, 32, 3), np.uint8))
    options = ("--cifar_c", tmp_path, "--corruptions", "fog")
    assert corruptions(checkpoint, *options, "--out", tmp_path / "report.json") == 1
    assert "evaluate without resizing" in capsys.readouterr().err
    np.save(tmp_path / "labels.npy", np.tile(np.arange(32) % 3, 5))
    assert corruptions(checkpoint, *options, "--out", tmp_path / "report.json") == 1
    assert "give the test set in its own order" in capsys.readouterr().err
