"""`lightly-adv encoder`, on backbones of all kinds of runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv.cli import encoder as command
from lightly_adv.cli.main import main
from lightly_adv.methods import PretextEnsembleModule, PretextModule, RobustClassifier
from lightly_adv.models import create_backbone

pytestmark = pytest.mark.filterwarnings("ignore")

DATA = ("--data", "tests.cli.tiny.TinyDataModule", "--trainer.max_epochs", "1")
TINY = ("--model.backbone", "resnet8_tiny")
QUICK = ("--steps", "1", "--knn_k", "5")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    attack = ("--model.attack", "pgd", "--model.attack.steps", "1")
    eps = ("--model.attack.threat_model.eps", "4/255")
    small = ("--evaluation.suite", "smoke", "--evaluation.max_val_samples", "8")
    commands = {
        "pretext": ["pretrain", *TINY, *attack, *eps],
        "classifier": ["finetune", *TINY, *small],
        "own": ["pretrain", "--model", "tests.cli.test_encoder.Own"],
    }
    for name, arguments in commands.items():
        assert main([*arguments, *DATA, "--out", str(root / name)]) == 0
    return {name: root / name / "checkpoints" / "last.ckpt" for name in commands}


class Own(pl.LightningModule):
    """A module of one's own, of which nothing is known but its backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        found: Tensor = self.backbone(batch[0]).square().mean()
        return found

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def encoder(checkpoint: Path, *options: object) -> int:
    return main(["encoder", str(checkpoint), *QUICK, *map(str, options)])


def test_a_report_of_a_pretext_run(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = runs["pretext"]
    assert encoder(checkpoint, "--max_samples", 16) == 0
    out = checkpoint.parents[1] / "encoder-last-Linf-4-255.json"
    content = json.loads(out.read_text())
    (row,) = content["rows"]
    assert row["name"] == "last"
    assert row["num_samples"] == 16
    assert row["eps_text"] == "4/255"
    assert content["neighbors"]["num_bank"] == 24
    assert content["checkpoints"] == [str(checkpoint)]
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert content["checkpoint_sha256"] == {str(checkpoint): digest}
    assert content["order"] == "spread over the classes"
    lines = capsys.readouterr().out.splitlines()
    for name in command.MEANINGS:
        (line,) = (each for each in lines if each.split()[0] == name)
        assert float(line.split()[1]) == pytest.approx(row[name], abs=0.06)
    assert "APGD-1, Linf 4/255, 16 images" in lines
    assert encoder(checkpoint) == 1
    assert "choose another file with --out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["classifier", "own"])
def test_other_runs(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    out = tmp_path / "report.json"
    options = ("--distance", "l2", "--pairs", "nearest", "--max_bank", "10")
    assert (
        encoder(runs[name], *options, "--norm", "L2", "--eps", 0.5, "--out", out) == 0
    )
    content = json.loads(out.read_text())
    assert (content["distance"], content["pairs"]) == ("l2", "nearest")
    assert content["neighbors"]["num_bank"] == 10
    assert content["threat_model"]["norm"] == "L2"


def test_too_few_to_vote(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encoder(runs["own"], "--knn_k", 200, "--out", tmp_path / "x.json") == 1
    assert "the bank has 24 images, but k=200" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_the_normalisation_is_that_of_the_module() -> None:
    images = torch.rand(2, 3, 8, 8)
    normalize: Any = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
    backbone = create_backbone("resnet8_tiny")
    pretext = PretextModule(
        "rotation", backbone=backbone, task_options={"normalize": normalize}
    )
    tasks = ["rotation", "selfie"]
    options = {task: {"normalize": normalize} for task in tasks}
    ensemble = PretextEnsembleModule(tasks, backbone=backbone, task_options=options)
    modules = [pretext, ensemble, RobustClassifier(backbone, normalize=normalize)]
    with torch.no_grad():
        expected = backbone.eval()((images - 0.5) / 0.2)
        for module in modules:
            found = command.encoder_of(module.eval())(images)
            assert found.allclose(expected, atol=1e-5)
        own = Own()
        assert command.encoder_of(own)(images).equal(own.backbone(images))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no module named backbone"):
        command.encoder_of(pl.LightningModule())
