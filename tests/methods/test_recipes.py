"""Every row of the grid, pre-training x fine-tuning, from its recipe on the digits."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from torchvision.utils import save_image

from lightly_adv.cli.finetune import FinetuneCLI
from lightly_adv.cli.main import main
from lightly_adv.cli.pretrain import PretrainCLI
from lightly_adv.evaluation import register_suite, suites
from lightly_adv.methods import TRADES, KLRegularized

RECIPES = Path(__file__).parents[2] / "examples" / "recipes" / "finetuning"
ROWS = {
    "SLF": ("head", False),
    "ALF": ("head", True),
    "F1": ("last_stage", False),
    "F2": ("last_stage", True),
    "F3": ("all", False),
    "F4": ("all", True),
}
GRID = [
    *itertools.product(["P1", "P2", "P3"], ["F1", "F2", "F3", "F4"]),
    ("P3", "SLF"),
    ("P3", "ALF"),
]
ONE_BATCH = tuple(
    f"--trainer.{name}=1"
    for name in ("max_epochs", "limit_train_batches", "limit_val_batches")
)
QUICK = (*ONE_BATCH, "--evaluation.suite=one-step", "--evaluation.max_val_samples=4")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def _one_step() -> Iterator[None]:
    """A suite that takes no time."""
    register_suite("one-step", override=True)(
        lambda: suites.pgd(steps=1, max_samples=8)
    )
    yield
    del suites.REGISTRY._entries["one-step"]


def recipes(*names: str) -> list[str]:
    return [f"--config={RECIPES / name}.yaml" for name in names]


def pretrain(out: Path, *names: str, options: tuple[str, ...] = ()) -> Path:
    """Run a recipe of pre-training for a batch; return the backbone."""
    arguments = [*recipes(*names), *ONE_BATCH, "--data.batch_size=8", *options]
    assert main(["pretrain", *arguments, f"--out={out}"]) == 0
    return out / "backbone.safetensors"


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbones of P2 and P3."""
    root = tmp_path_factory.mktemp("runs")
    return {
        name: pretrain(root / name, "digits/pretraining", name) for name in ("P2", "P3")
    }


def finetune(
    out: Path, *names: str, backbone: Path | None, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Run a recipe of fine-tuning for a batch; return the settings that it ran with."""
    arguments = [*recipes(*names), *QUICK, "--data.batch_size=4", *options]
    arguments += [] if backbone is None else [f"--model.checkpoint={backbone}"]
    assert main(["finetune", *arguments, f"--out={out}"]) == 0
    for row in json.loads((out / "result.json").read_text())["rows"]:
        assert 0 <= row["robust_accuracy"] <= row["clean_accuracy"] <= 100
    found: dict[str, Any] = yaml.safe_load((out / "config.yaml").read_text())
    return found


def weights(out: Path) -> dict[str, Tensor]:
    """Return the backbone at the end of a run."""
    content = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, Tensor] = content["state_dict"]
    return {
        key.removeprefix("backbone."): value
        for key, value in state.items()
        if key.startswith("backbone.")
    }


def test_p2_is_standard_and_p3_adversarial(backbones: dict[str, Path]) -> None:
    for name, path in backbones.items():
        result = json.loads((path.parent / "result.json").read_text())
        assert ("train_robust_top1" in result["logged"]) == (name == "P3")
        # Validation attacks both, so both end with the most robust one.
        assert 0 <= result["rows"][0]["robust_accuracy"] <= 100
        assert (path.parent / "checkpoints" / "best-robust.ckpt").is_file()
        assert (path.parent / "backbone-best-robust.safetensors").is_file()


@pytest.mark.parametrize(
    ("before", "row"), GRID, ids=[f"{before}-{row}" for before, row in GRID]
)
def test_every_row_of_the_grid_runs_on_the_digits(
    before: str, row: str, backbones: dict[str, Path], tmp_path: Path
) -> None:
    backbone = backbones.get(before)
    model = finetune(tmp_path / "run", "digits/finetuning", row, backbone=backbone)[
        "model"
    ]
    trainable, adversarial = ROWS[row]
    assert model["trainable"] == trainable
    assert ("attack" in model) == adversarial
    if backbone is None:
        return
    start, end = load_file(backbone), weights(tmp_path / "run")
    moved = {key.split(".")[0] for key in end if not torch.equal(start[key], end[key])}
    everything = {"conv1", "bn1", "layer1", "layer2", "layer3"}
    expected = {"head": set(), "last_stage": {"layer3"}, "all": everything}[trainable]
    assert moved == expected


@pytest.mark.parametrize(
    ("name", "criterion", "start_std"),
    [
        ("trades", TRADES(beta=6.0), 0.001),
        ("kl_ce", KLRegularized(beta=1.0), None),
        ("kl_kl", TRADES(beta=1.0), 0.001),
    ],
)
def test_the_objectives_run_behind_a_row(
    name: str, criterion: Any, start_std: float | None, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    model = finetune(out, "digits/finetuning", "F2", name, backbone=None)["model"]
    assert model["criterion"]["init_args"] == {"beta": criterion.beta}
    assert model["attack"]["init_args"].get("start_std") == start_std
    content = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    trained_with = content["hyper_parameters"]["trained_with"]
    assert trained_with.startswith(f"{criterion}, PGD(")


def test_members_of_different_pretext_tasks_are_evaluated_as_one(
    tmp_path: Path,
) -> None:
    """As the page on fine-tuning says, on fewer batches."""
    members = []
    for task in ("rotation", "jigsaw"):
        options = (f"--model.task={task}", "--data.crop_padding=0")
        pretrained = tmp_path / f"{task}-P3"
        pretrain(pretrained, "digits/pretraining", "P3", options=options)
        backbone = pretrained / "backbone-best-robust.safetensors"
        finetune(tmp_path / task, "digits/finetuning", "F2", backbone=backbone)
        members.append(str(tmp_path / task / "checkpoints" / "best-robust.ckpt"))
    assert main(["evaluate", *members, "--suite=smoke", "--max_samples=16"]) == 0
    name = "evaluation-ensemble-of-2-smoke-Linf-32-255"
    for ending in ("json", "html", "md"):
        assert (tmp_path / "rotation" / f"{name}.{ending}").is_file()
    report = json.loads((tmp_path / "rotation" / f"{name}.json").read_text())
    assert report["checkpoints"] == members
    (row,) = report["rows"]
    assert (row["name"], row["num_samples"]) == ("ensemble of 2", 16)
    assert 0 <= row["robust_accuracy"] <= row["clean_accuracy"] <= 100


def test_image_folders(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for part, label, number in itertools.product(
        ("train", "test"), ("cat", "dog"), range(12)
    ):
        folder = tmp_path / "data" / part / label
        folder.mkdir(parents=True, exist_ok=True)
        image = torch.rand(3, 32, 32, generator=generator)
        save_image(image, folder / f"{number}.png")
    root = (f"--data.root={tmp_path / 'data'}",)
    backbone = pretrain(tmp_path / "P3", "image_folder/pretraining", "P3", options=root)
    finetune(
        tmp_path / "run",
        "image_folder/finetuning",
        "F2",
        backbone=backbone,
        options=(*root, "--data.num_labelled=16"),
    )


def test_the_numbers_of_the_paper(tmp_path: Path) -> None:
    """They are complete: everything is made that a GPU would run."""
    out = f"--out={tmp_path / 'run'}"
    cpu = "--trainer.accelerator=cpu"
    tuning = FinetuneCLI([*recipes("paper/finetuning", "F2"), cpu, out])
    assert tuning.model._trained_parts == ("stages.3", "norm")
    assert tuning.config.model.load == "trunk"
    training = PretrainCLI([*recipes("paper/pretraining", "P3"), cpu, out])
    assert training.model.val_attack.steps == 20
    standard = PretrainCLI([*recipes("paper/pretraining", "P2"), cpu, out])
    assert standard.model.attack is None
    assert standard.model.val_attack.steps == 20
    for cli in (tuning, training):
        attack = cli.model.attack
        assert (attack.threat_model.eps, attack.steps) == (8 / 255, 10)
        assert attack.step_size == 2 / 255
        assert cli.trainer.max_epochs == 100
        assert (cli.datamodule.name, cli.datamodule.batch_size) == ("CIFAR10", 128)
