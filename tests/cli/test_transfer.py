"""`lightly-adv transfer`, on a pre-trained ensemble and on classifiers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightly_adv.cli import transfer as command
from lightly_adv.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")

DATA = ("--data", "tests.cli.tiny.TinyDataModule", "--trainer.max_epochs", "1")
ATTACK = ("--model.attack", "pgd", "--model.attack.steps", "1")
TINY = ("--model.backbone", "resnet8_tiny")
JIGSAW = "{jigsaw: {grid: 2, num_permutations: 3}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    ensemble = (
        *("--model", "lightly_adv.methods.PretextEnsembleModule"),
        *("--model.tasks", "[rotation, jigsaw]", "--model.task_options", JIGSAW),
    )
    eps = ("--model.attack.threat_model.eps", "4/255")
    small = ("--evaluation.suite", "smoke", "--evaluation.max_val_samples", "8")
    commands = {
        "ensemble": ["pretrain", *ensemble, *TINY, *ATTACK, *eps],
        "rotation": ["pretrain", "--model.task", "rotation", *TINY, *ATTACK],
        "classifier": ["finetune", *TINY, *small, *ATTACK],
        "another": ["finetune", *TINY, *small, "--model.lr", "0.01"],
    }
    for name, arguments in commands.items():
        assert main([*arguments, *DATA, "--out", str(root / name)]) == 0
    return {name: root / name / "checkpoints" / "last.ckpt" for name in commands}


def transfer(out: Path, *arguments: object) -> Any:
    call = ["transfer", *map(str, arguments), "--steps", "2", "--out", str(out)]
    assert main(call) == 0
    return json.loads(out.with_suffix(".json").read_text())


def test_an_ensemble_brings_all_of_its_tasks(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = transfer(tmp_path / "out", runs["ensemble"])
    assert found["names"] == ["rotation", "jigsaw"]
    assert found["threat_model"]["eps_text"] == "4/255"
    assert found["data"]["num_samples"] == 32
    assert found["checkpoints"] == [str(runs["ensemble"])]
    assert (tmp_path / "out.png").stat().st_size > 1000
    shown = capsys.readouterr().out
    assert "PGD-2, Linf 4/255, 32 images" in shown
    assert "cosine between perturbations" in shown


def test_of_several_checkpoints(runs: dict[str, Path], tmp_path: Path) -> None:
    eps = ("--eps", "2/255", "--max_samples", 10)
    found = transfer(tmp_path / "tasks", runs["rotation"], runs["ensemble"], *eps)
    assert found["names"] == ["rotation", "ensemble rotation", "ensemble jigsaw"]
    assert found["data"]["num_samples"] == 10
    assert found["threat_model"]["eps_text"] == "2/255"
    both = [runs["classifier"], runs["another"], *eps]
    found = transfer(tmp_path / "classifiers", *both)
    assert found["names"] == ["classifier", "another"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["classifier", "rotation"], "compare either fine-tuned or pre-trained"),
        (["rotation", "rotation"], "given twice"),
        (["rotation"], "expected at least two"),
        (["classifier"], "one is enough only for a pretext ensemble"),
        (["rotation", "ensemble"], "different threat models"),
    ],
)
def test_refusals(
    runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    names: list[str],
    words: str,
) -> None:
    paths = [str(runs[name]) for name in names]
    # Wrong checkpoints are what has to be told, even where an older result lies.
    (tmp_path / "transfer.json").write_text("mine")
    assert main(["transfer", *paths, "--out", str(tmp_path / "transfer.json")]) != 0
    assert words in capsys.readouterr().err


def test_nothing_is_overwritten(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "transfer.json").write_text("mine")
    assert (
        main(
            [
                "transfer",
                str(runs["ensemble"]),
                "--out",
                str(tmp_path / "transfer.json"),
            ]
        )
        != 0
    )
    assert "choose another file with --out" in capsys.readouterr().err
    assert (tmp_path / "transfer.json").read_text() == "mine"


def test_names_are_as_short_as_can_be() -> None:
    def names(*paths: str) -> list[str]:
        files = [Path("/r") / path for path in paths]
        networks: Any = [
            SimpleNamespace(folder=file.parents[1], name=file.stem) for file in files
        ]
        return command._names(networks)

    assert names("a/checkpoints/last.ckpt", "b/checkpoints/last.ckpt") == ["a", "b"]
    one = names("a/checkpoints/last.ckpt", "a/checkpoints/best.ckpt")
    assert one == ["a/last", "a/best"]
    assert names("x/a/checkpoints/1.ckpt", "y/a/checkpoints/1.ckpt") == ["x/a", "y/a"]
