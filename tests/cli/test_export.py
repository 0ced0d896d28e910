"""`lightly-adv export`, of classifiers and of pre-trained backbones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lightly_adv.cli.main import main
from lightly_adv.finetuning import RobustClassifier
from lightly_adv.methods import PretextModule
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
    assert main(["evaluate", str(path), "--suite", "smoke", "--max_samples", "4"]) == 0
    return path


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
    assert "its card tells of one evaluation" in shown
    original = RobustClassifier.load_from_checkpoint(checkpoint, weights_only=True)
    loaded = load_exported(out)
    assert torch.equal(answers(loaded.on_pixels()), answers(original))
    assert loaded.normalize == {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    card = (out / "README.md").read_text()
    assert "| smoke | Linf 8/255 | 4 |" in card
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
    assert "| mine | mean of all | - | 90.0 | 12.5 |" in card
    assert "smoke" not in card
    capsys.readouterr()
    for text, words in (
        ('{"checkpoint": "/other/checkpoints/best.ckpt"}', "not about"),
        ('{"rows": [', "is damaged, or not JSON"),
        ("[]", "holds a list; expected a report"),
        ("{}", "does not hold one row"),
    ):
        report.write_text(text)
        assert export(checkpoint, tmp_path / "b", "--card", report) == 1
        assert words in capsys.readouterr().err
    assert export(checkpoint, tmp_path / "b", "--card", tmp_path / "none.json") == 1
    assert "there is no report at" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


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
