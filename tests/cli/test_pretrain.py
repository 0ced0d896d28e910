from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from lightly_adv import PGD, ThreatModel
from lightly_adv.cli.main import main
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.methods import PretextModule, RoCL
from lightly_adv.models import create_backbone, load_backbone
from tests.cli.conftest import Command
from tests.cli.tiny import TinyDataModule

JIGSAW = (
    *("--model.task", "jigsaw"),
    *("--model.task_options", "{grid: 2, num_permutations: 3}"),
)
ATTACK = (
    *("--model.attack", "pgd", "--model.attack.threat_model.eps", "8/255"),
    *("--model.attack.steps", "1"),
)
STEPS_PER_EPOCH = 3

pytestmark = pytest.mark.filterwarnings("ignore")


def logged(out: Path, name: str) -> list[float]:
    """The values of a metric, epoch by epoch."""
    with (out / "logs" / "version_0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def in_checkpoint(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Number of steps, and the weights of the backbone."""
    content = torch.load(path, weights_only=True)
    prefix = "task.backbone."
    state = content["state_dict"].items()
    weights = {k.removeprefix(prefix): v for k, v in state if k.startswith(prefix)}
    return content["global_step"], weights


def test_the_best_backbones_are_those_of_the_best_checkpoints(command: Command) -> None:
    assert command("pretrain", *JIGSAW, *ATTACK, "--trainer.max_epochs", "3") == 0
    out = Path("runs/pretrain")
    for name, metric in (("clean", "val_top1"), ("robust", "val_robust_top1")):
        values = logged(out, metric)
        assert len(values) == 3
        expected = (values.index(max(values)) + 1) * STEPS_PER_EPOCH
        number, weights = in_checkpoint(out / "checkpoints" / f"best-{name}.ckpt")
        assert number == expected
        found = load_file(out / f"backbone-best-{name}.safetensors")
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[key], weights[key]) for key in found)
    number, weights = in_checkpoint(out / "checkpoints" / "last.ckpt")
    assert number == 3 * STEPS_PER_EPOCH
    found = load_file(out / "backbone.safetensors")
    assert all(torch.equal(found[key], weights[key]) for key in found)


def test_without_a_robust_accuracy_there_is_no_robust_backbone(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pretrain", *JIGSAW, "--trainer.max_epochs", "1") == 0
    files = {path.name for path in Path("runs/pretrain").glob("*.safetensors")}
    assert files == {"backbone.safetensors", "backbone-best-clean.safetensors"}
    assert "that of best-clean.ckpt is in" in capsys.readouterr().out


def test_images_of_validation_are_clean_and_no_test_images() -> None:
    data = TinyDataModule()
    train, val = data.train_dataset, data.val_dataset
    assert val is not None
    assert train.augmentation is not None
    assert val.augmentation is None
    assert not set(train.indices.tolist()) & set(val.indices.tolist())
    assert len(train) + len(val) == data.num_images
    assert val.images is train.images


def test_options_of_the_task_one_by_one(command: Command) -> None:
    options = ("--model.task_options.grid", "2", "--model.task_options.bias", "0.5")
    task = ("--model.task", "jigsaw", "--trainer.max_epochs", "1")
    assert command("pretrain", *task, *options) == 0
    config = yaml.safe_load(Path("runs/pretrain/config.yaml").read_text())
    expected = {"grid": 2, "bias": 0.5}
    assert config["model"]["init_args"]["task_options"] == expected


ENSEMBLE = (
    *("pretrain", "--data", "tests.cli.tiny.TinyDataModule"),
    *("--model", "PretextEnsembleModule", "--model.backbone", "resnet8_tiny"),
    *("--model.tasks", "[rotation, jigsaw]", "--trainer.max_epochs", "1"),
)


@pytest.mark.usefixtures("command")
def test_several_tasks() -> None:
    options = "{jigsaw: {grid: 2, num_permutations: 3}}"
    diversity = ("--model.diversity_weight=-0.1", "--model.frame", "images")
    assert main([*ENSEMBLE, "--model.task_options", options, *ATTACK, *diversity]) == 0
    out = Path("runs/pretrain")
    result = json.loads((out / "result.json").read_text())
    names = {f"val_robust_top1/{task}" for task in ("rotation", "jigsaw")}
    assert names | {"train_gradient_diversity"} <= set(result["logged"])
    assert result["rows"][0]["robust_accuracy"] is not None
    for name in ("", "-best-clean", "-best-robust"):
        backbone = create_backbone("resnet8_tiny")
        load_backbone(backbone, out / f"backbone{name}.safetensors")
    again = ("--config", "runs/pretrain/config.yaml", "--out", "runs/again")
    assert main(["pretrain", *again]) == 0
    first, second = (
        load_file(f"runs/{run}/backbone.safetensors") for run in ("pretrain", "again")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model.tasks", "[rotation]"), "['rotation'] is no ensemble"),
        (
            ("--model.task_options", "{selfie: {}}"),
            "task_options are given for ['selfie']",
        ),
        (("--model.task_options", "{jigsaw: {grid: 3}}"), "grid=3 does not divide"),
        (
            ("--model.task_options", "{jigsaw: {gird: 2}}"),
            "it takes grid, num_permutations",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ENSEMBLE, *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


class OwnDefaults(PretextModule):
    """A module whose options have the names of those of the default model."""

    def __init__(self, weight: float = 0.25, lr: float = 0.75) -> None:
        attack = PGD(ThreatModel(eps=0.1))
        super().__init__("rotation", backbone="resnet8_tiny", attack=attack)
        self.values = weight, lr


@pytest.mark.parametrize("given", ["option", "config"])
def test_another_model_keeps_its_own_defaults(given: str, tmp_path: Path) -> None:
    """Not those that the default model and the default data have by these names."""
    chosen = ["--model=tests.cli.test_pretrain.OwnDefaults"]
    data = ["--data=tests.cli.tiny.TinyDataModule"]
    if given == "config":
        config = tmp_path / "config.yaml"
        config.write_text("model: {class_path: tests.cli.test_pretrain.OwnDefaults}")
        chosen = [f"--config={config}"]
    made = PretrainCLI([*chosen, *data, f"--out={tmp_path / 'run'}"])
    assert made.model.values == (0.25, 0.75)


def test_methods_are_chosen_by_name(tmp_path: Path) -> None:
    for chosen in (["--model", "rocl"], ["--model=rocl"]):
        backbone = "--model.backbone=resnet8_tiny"
        made = PretrainCLI([*chosen, backbone, f"--out={tmp_path / 'run'}"])
        assert isinstance(made.model, RoCL)
        assert made.model.weight == 1 / 256
