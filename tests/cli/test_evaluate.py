"""Several checkpoints, evaluated as one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightly_adv import ThreatModel
from lightly_adv.cli.main import main
from lightly_adv.evaluation import evaluate_robustness
from lightly_adv.methods import RobustClassifier
from lightly_adv.models import Ensemble
from tests.cli.tiny import TinyDataModule

HALVES = "{mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"

pytestmark = pytest.mark.filterwarnings("ignore")


def finetune(out: Path, *options: str) -> Path:
    """Run the command for an epoch; return the checkpoint."""
    quick = ("--evaluation.suite", "smoke", "--evaluation.max_val_samples", "8")
    data = ("--data", "tests.cli.tiny.TinyDataModule")
    epochs = ("--trainer.max_epochs", "1")
    assert main(["finetune", *data, *quick, *epochs, *options, "--out", str(out)]) == 0
    return out / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of unlike classifiers."""
    root = tmp_path_factory.mktemp("runs")
    attack = ("--model.attack", "PGD", "--model.attack.steps", "1")
    wide = (*attack, "--model.attack.threat_model.eps", "16/255")
    tiny = ("--model.backbone", "resnet8_tiny")
    other = ("--model.backbone", "test_resnet", "--model.normalize", HALVES)
    trades = ("--model.criterion", "TRADES", "--model.criterion.beta", "2")
    three = ("--data", "tests.cli.tiny.ThreeClasses")
    return {
        "trades": finetune(root / "trades", *tiny, *attack, *trades),
        "standard": finetune(root / "standard", *other, "--model.lr", "0.01"),
        "wide": finetune(root / "wide", *tiny, *wide),
        "three": finetune(root / "three", *tiny, *three),
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--suite", "smoke"])


def test_the_objective_is_kept(runs: dict[str, Path]) -> None:
    config = (runs["trades"].parents[1] / "config.yaml").read_text()
    assert "class_path: lightly_adv.methods.TRADES\n" in config
    content = torch.load(runs["trades"], weights_only=True)
    assert "TRADES(beta=2.0), PGD" in content["hyper_parameters"]["trained_with"]


def test_several_checkpoints_are_an_ensemble(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, out = [runs["trades"], runs["standard"]], tmp_path / "report.json"
    assert evaluate(*paths, "--out", out) == 0
    members = [
        RobustClassifier.load_from_checkpoint(path, weights_only=True) for path in paths
    ]
    assert members[1].hparams["backbone"] == "test_resnet"
    expected = evaluate_robustness(
        Ensemble(members),
        TinyDataModule().test_dataloader(),
        ThreatModel(eps=8 / 255),
        suite="smoke",
    )
    found = read(out)
    assert found["flags"] == json.loads(expected.to_json())["flags"]
    assert found["checkpoints"] == list(map(str, paths))
    assert found["checkpoint_sha256"] == {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }
    assert found["data"]["digest"] == expected.data_digest
    assert found["order"] == "spread over the classes"
    assert found["curves"] is None, "smoke has none unless it is asked for"
    assert out.with_suffix(".md").read_text().startswith("# ensemble of 2\n")
    (row,) = found["rows"]
    assert row["name"] == "ensemble of 2"
    assert f"clean {row['clean_accuracy']:.1f} %" in capsys.readouterr().out


def test_the_report_of_an_ensemble_lies_with_its_first_member(
    runs: dict[str, Path],
) -> None:
    assert evaluate(runs["standard"], runs["trades"], "--eps", "4/255") == 0
    name = "evaluation-ensemble-of-2-smoke-Linf-4-255.json"
    assert (runs["standard"].parents[1] / name).exists()


def test_nothing_is_overwritten(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "mine.html"
    page.write_text("mine")
    assert evaluate(runs["trades"], "--out", tmp_path / "mine.json") == 1
    assert "mine.html exists; choose another file" in capsys.readouterr().err
    assert page.read_text() == "mine"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert evaluate(*arguments) == 1
    return capsys.readouterr().err


def test_members_for_other_classes_are_refused(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = complaint(capsys, runs["trades"], runs["three"])
    assert f"different numbers of classes ({runs['trades']} 2, {runs['three']} 3)" in (
        shown
    )
    data = ("--data", "tests.cli.tiny.TinyDataModule")
    shown = complaint(capsys, runs["three"], *data)
    assert "last.ckpt tells 3 classes apart, but the data have 2" in shown


def test_runs_under_different_threat_models_need_to_be_told_which(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pair = (runs["trades"], runs["wide"])
    shown = complaint(capsys, *pair)
    assert "different threat models (Linf 8/255, Linf 16/255)" in shown
    assert evaluate(*pair, "--eps", "2/255", "--out", tmp_path / "report.json") == 0


def test_a_surrogate_is_attacked_in_one_of_the_checks(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, surrogate = tmp_path / "report.json", runs["standard"]
    quick = ("--suite", "pgd-20", "--max_samples", 8, "--curve_samples", 0)
    call = ["evaluate", runs["trades"], *quick, "--surrogate", surrogate, "--out", out]
    assert main(list(map(str, call))) == 0
    found = read(out)
    transfer = found["checks"][-1]
    assert transfer["name"] == "transfer"
    assert transfer["status"] != "SKIP"
    digest = hashlib.sha256(surrogate.read_bytes()).hexdigest()
    assert found["surrogate_sha256"] == {str(surrogate): digest}
    assert found["checkpoints"] == [str(runs["trades"])]
    told = f"| SHA-256 of the surrogate {surrogate} | {digest} |"
    assert told in out.with_suffix(".md").read_text()
    capsys.readouterr()
    for other, words in (
        (runs["trades"], "is what is evaluated; give another classifier"),
        (runs["three"], f"different numbers of classes ({runs['trades']} 2"),
        (tmp_path / "none.ckpt", "there is no checkpoint at"),
    ):
        refused = [*call[:-3], other, "--out", tmp_path / "other.json"]
        assert main(list(map(str, refused))) == 1
        assert words in capsys.readouterr().err
    shown = complaint(capsys, runs["trades"], "--surrogate", surrogate)
    assert "the suite 'smoke' has no checks" in shown


def test_a_checkpoint_that_lacks_weights_is_refused_key_by_key(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(runs["trades"], weights_only=True)
    del content["state_dict"]["head.bias"]
    damaged = runs["trades"].with_name("damaged.ckpt")
    torch.save(content, damaged)
    shown = complaint(capsys, damaged)
    assert "damaged.ckpt does not hold the weights of this Robust" in shown
    assert 'Missing key(s) in state_dict: "head.bias"' in shown


def test_another_norm_needs_its_radius(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = complaint(capsys, runs["trades"], "--norm", "L2")
    assert "--norm L2 is not that of the run, Linf 8/255" in shown


def test_a_member_counts_once(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = complaint(capsys, runs["trades"], runs["wide"], runs["trades"])
    assert "last.ckpt is given twice" in shown


def test_no_checkpoint_is_no_ensemble(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--backbone NAME" in complaint(capsys)
