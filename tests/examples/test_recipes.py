"""Every recipe of pre-training is built, and the small ones run on the digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightly_adv.attacks import Attack
from lightly_adv.cli.main import main
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.methods import PretextEnsembleModule, PretextModule
from lightly_adv.pretext import JigsawTask, SelfieTask

FOLDER = Path(__file__).parents[2] / "examples" / "recipes" / "pretraining"
TASKS = ("rotation", "jigsaw", "selfie", "ensemble")
KINDS = ("standard", "adversarial")
NAMES = [f"{task}_{kind}" for task in TASKS for kind in KINDS]
ONE_BATCH = (
    *("--trainer.max_epochs", "1", "--data.batch_size", "16"),
    *("--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"),
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def built(path: Path, *arguments: str) -> Any:
    return PretrainCLI(["--config", str(path), *arguments])


def test_there_is_one_for_each_task_kind_and_scale() -> None:
    found = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.yaml")}
    assert found == {f"{s}/{n}.yaml" for s in ("small", "paper") for n in NAMES}


def test_the_command_in_each_recipe_is_its_own() -> None:
    for path in FOLDER.rglob("*.yaml"):
        text = path.read_text()
        assert (
            f"--config examples/recipes/pretraining/{path.parent.name}/{path.name}"
            in text
        )
        assert f"--out runs/{path.stem} " in text


# From the public code of the paper: lr, weight decay, batch size, epochs.
TABLE = {
    "rotation_standard": (0.1, 3e-4, 128, 200),
    "rotation_adversarial": (0.1, 3e-4, 128, 100),
    "jigsaw_standard": (0.1, 5e-4, 128, 200),
    "jigsaw_adversarial": (0.1, 3e-4, 128, 100),
    "selfie_standard": (0.1, 1e-4, 256, 200),
    "selfie_adversarial": (0.1, 1e-4, 128, 200),
    "ensemble_standard": (0.001, 1e-4, 80, 150),
    "ensemble_adversarial": (0.001, 1e-4, 80, 150),
}


@pytest.fixture
def _quickly_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave weights as they lie in memory: those of the paper take seconds to draw."""
    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *_, **__: self)


@pytest.mark.usefixtures("_quickly_made")
@pytest.mark.parametrize("name", NAMES)
def test_paper_recipes_have_the_numbers_of_the_paper(name: str) -> None:
    cli = built(FOLDER / "paper" / f"{name}.yaml")
    module, data = cli.model, cli.datamodule
    optimizer = module.optimizer
    found = (optimizer.lr, optimizer.weight_decay, data.batch_size)
    assert (*found, cli.trainer.max_epochs) == TABLE[name]
    assert (data.name, data.val_fraction) == ("CIFAR10", 0.1)
    assert_attack(module.val_attack, steps=20)
    adversarial = name.endswith("adversarial")
    assert module.weight == (0.5 if adversarial else 0)
    if adversarial:
        assert_attack(module.attack, steps=10)
    else:
        assert module.attack is None
    for task in tasks_of(module):
        assert type(task.backbone).__name__ == "SmallStemResNetV2"
        if isinstance(task, JigsawTask):
            assert task.permutations.shape == (31, 16)
            assert task.bias == 0.9
        if isinstance(task, SelfieTask):
            assert (task.grid, task.num_masked, task.mask_per) == (4, 4, "batch")
            assert (task.level.width, len(task.pooling.layers)) == (1024, 13)
    if isinstance(module, PretextEnsembleModule):
        assert module.ensemble.names == ["rotation", "jigsaw", "selfie"]
        assert module.diversity_weight == (0.1 if adversarial else 0.0)


def tasks_of(module: PretextModule | PretextEnsembleModule) -> list[Any]:
    if isinstance(module, PretextModule):
        return [module.task]
    return list(module.ensemble.tasks.values())


def assert_attack(attack: Attack | None, *, steps: int) -> None:
    assert attack is not None
    assert attack.threat_model.eps == 8 / 255
    assert (attack.steps, attack.step_size, attack.random_start) == (
        steps,
        2 / 255,
        True,
    )


@pytest.mark.parametrize("name", NAMES)
def test_small_recipes_run_on_the_digits(name: str) -> None:
    recipe = str(FOLDER / "small" / f"{name}.yaml")
    assert main(["pretrain", "--config", recipe, *ONE_BATCH, "--out", "runs/mine"]) == 0
    out = Path("runs/mine")
    for checkpoint in ("", "-best-clean", "-best-robust"):
        assert (out / f"backbone{checkpoint}.safetensors").is_file()
    result = json.loads((out / "result.json").read_text())
    (row,) = result["rows"]
    assert 0 <= row["clean_accuracy"] <= 100
    assert 0 <= row["robust_accuracy"] <= 100
    trained = {key for key in result["logged"] if key.startswith("train_robust_top1")}
    assert bool(trained) == name.endswith("adversarial")


@pytest.mark.parametrize("weight", ["0.1", "-0.1"])
def test_the_diversity_term_is_one_option(weight: str) -> None:
    recipe = str(FOLDER / "small" / "ensemble_adversarial.yaml")
    option = f"--model.diversity_weight={weight}"
    assert main(["pretrain", "--config", recipe, *ONE_BATCH, option]) == 0
    logged = json.loads(Path("runs/pretrain/result.json").read_text())["logged"]
    assert -22 < logged["train_gradient_diversity"] < 1e-3


def test_images_of_ones_own_take_the_place_of_the_digits() -> None:
    recipe = FOLDER / "small" / "jigsaw_standard.yaml"
    options = ("--data", "ImageFolderDataModule", "--data.root", "images")
    data = built(recipe, *options).datamodule
    assert (str(data.root), data.batch_size) == ("images", 128)
