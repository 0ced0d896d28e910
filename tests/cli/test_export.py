"""`lightly-adv export`, of classifiers and of pre-trained backbones."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from lightly_adv.cli.main import main
from lightly_adv.methods import PretextModule, RobustClassifier
from lightly_adv.models.export import load_exported
from tests.cli.test_evaluate import HALVES, finetune

pytestmark = pytest.mark.filterwarnings("ignore")

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    path = finetune(
        out, "--model.backbone", "resnet8_tiny", "--model.normalize", HALVES
    )
    evaluate(path)
    return path


def evaluate(checkpoint: Path, *options: object) -> None:
    quick = ("--max_samples", 4, "--curve_samples", 0)
    assert main(["evaluate", str(checkpoint), *map(str, [*quick, *options])]) == 0


def export(checkpoint: Path, out: Path, *options: object) -> int:
    call = ["export", str(checkpoint), "--out", str(out), *map(str, options)]
    return main(call)


def answers(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IMAGES)
    return found


def test_a_classifier_with_its_card(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert export(checkpoint, out) == 0
    shown = capsys.readouterr().out
    assert "56 of 56 tensors loaded" in shown
    assert "its card lists one evaluation" in shown
    original = RobustClassifier.load_from_checkpoint(checkpoint, weights_only=True)
    loaded = load_exported(out)
    assert torch.equal(answers(loaded.on_pixels()), answers(original))
    assert loaded.normalize == {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    card = (out / "README.md").read_text()
    assert "| pgd-20 | Linf 8/255 | 4 |" in card
    assert "last.ckpt, SHA-256" in card
    assert str(tmp_path) not in card
    config = json.loads((out / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 8, 8]
    assert export(checkpoint, out) == 1
    assert "is not an empty folder" in capsys.readouterr().err


def test_its_backbone_with_a_report_of_choice(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    row = {"clean_accuracy": 90.0, "robust_accuracy": 12.5, "suite": "mine"}
    report.write_text(json.dumps({"rows": [row]}))
    out = tmp_path / "mine"
    assert export(checkpoint, out, "--part", "backbone", "--card", report) == 0
    assert load_exported(out).model.num_classes == 0
    card = (out / "README.md").read_text()
    assert "| mine | - | - | 90.0 | 12.5 |" in card
    assert "pgd-20" not in card
    capsys.readouterr()
    for text, words in (
        ('{"checkpoints": ["best.ckpt"]}', "about best.ckpt (SHA-256 not kept), "),
        ('{"rows": [', "is not JSON, or only a part of it"),
        ("[]", "is not a report, but holds a list"),
        ("{}", "expected one row"),
    ):
        report.write_text(text)
        assert export(checkpoint, tmp_path / "b", "--card", report) == 1
        assert words in capsys.readouterr().err
    assert export(checkpoint, tmp_path / "b", "--card", tmp_path / "none.json") == 1
    assert "none.json; expected a report" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_numbers_of_other_weights_are_not_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "moved"
    shutil.copytree(checkpoint.parents[1], run)
    moved = run / "checkpoints" / "last.ckpt"
    (report,) = run.glob("evaluation-*.json")
    assert export(moved, tmp_path / "same") == 0
    assert "one evaluation" in capsys.readouterr().out
    content = torch.load(moved, weights_only=True)
    content["state_dict"]["head.bias"] += 1
    torch.save(content, moved)  # as one more epoch does
    assert export(moved, tmp_path / "trained-on") == 0
    shown = capsys.readouterr().out
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (checkpoint, moved)]
    assert f"{report.name} is left out: it is about {checkpoint} (SHA-256 " in shown
    assert all(f"{digest[:12]}..." in shown for digest in digests)
    assert "its card lists 0 evaluations" in shown
    assert "is not known" in (tmp_path / "trained-on" / "README.md").read_text()
    assert export(moved, tmp_path / "named", "--card", report) == 1
    shown = capsys.readouterr().err
    assert f"{report} does not belong on the card: it is about {checkpoint}" in shown
    assert not (tmp_path / "named").exists()


def test_the_suite_smoke_is_told_on_demand_only(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = checkpoint.parents[1] / "evaluation-smoke.json"
    evaluate(checkpoint, "--suite", "smoke", "--out", report)
    assert export(checkpoint, tmp_path / "mine") == 0
    shown = capsys.readouterr().out
    assert f"{report.name} is left out: numbers of the suite smoke are not for" in shown
    assert "smoke" not in (tmp_path / "mine" / "README.md").read_text()
    assert export(checkpoint, tmp_path / "named", "--card", report) == 0
    card = (tmp_path / "named" / "README.md").read_text()
    assert "| smoke | Linf 8/255 | 4 |" in card


def test_every_row_of_the_card_says_what_was_measured(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(checkpoint.parents[1], folder)
    moved = str(folder / "checkpoints" / "last.ckpt")
    few = ("--max_samples", "8")
    fog = ("--corruptions", "fog", "contrast", "--severities", "1", "5")
    assert main(["corruptions", moved, *fog, *few]) == 0
    snow = ("--attacks", "snow", "--steps", "1")
    assert main(["unforeseen", moved, *snow, *few]) == 0
    assert main(["encoder", moved, "--steps", "1", "--knn_k", "5", *few]) == 0
    assert export(Path(moved), tmp_path / "mine") == 0
    card = (tmp_path / "mine" / "README.md").read_text()
    for cells in (
        "| pgd-20 | Linf 8/255 | 4 |",
        "| mean over 2 corruptions, C-style, severities 1 5 | - | 8 |",
        "| mean over 1 unforeseen attack, 1 steps | - | 8 |",
        "| robust kNN, APGD-1, k=5 | Linf 8/255 | 8 |",
    ):
        (row,) = (line for line in card.splitlines() if line.startswith(cells))
        has_interval = "Linf" in cells
        assert (row.count(" to ") == 2) == has_interval


def test_a_pretrained_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ("--data", "tests.cli.tiny.TinyDataModule", "--trainer.max_epochs", "1")
    task = ("--model.task", "rotation", "--model.backbone", "resnet8_tiny")
    assert main(["pretrain", *tiny, *task, "--out", str(tmp_path / "run")]) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert export(checkpoint, tmp_path / "mine") == 0
    original = PretextModule.load_from_checkpoint(checkpoint, weights_only=True)
    loaded = load_exported(tmp_path / "mine")
    expected = answers(nn.Sequential(original.task.normalize, original.backbone))
    assert torch.equal(answers(loaded.on_pixels()), expected)
    assert "0 evaluations" in capsys.readouterr().out
    assert export(checkpoint, tmp_path / "b", "--part", "classifier") == 1
    assert "PretextModule has no classifier" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing"])
def test_damaged_checkpoints_are_told(
    checkpoint: Path,
    tmp_path: Path,
    content: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = checkpoint.with_name("damaged.ckpt")
    damaged.write_bytes(content)
    assert export(damaged, tmp_path / "mine") == 1
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert "damaged.ckpt is damaged, or no checkpoint" in shown
