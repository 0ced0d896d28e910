"""Networks of timm and exported folders, evaluated by commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightly_adv.cli import timm_networks
from lightly_adv.cli.main import main
from lightly_adv.models import create_backbone, save_backbone
from lightly_adv.models.export import export_model
from tests.cli.tiny import TinyDataModule

pytestmark = pytest.mark.filterwarnings("ignore")

DATA = ("--data", "tests.cli.tiny.TinyDataModule")
THREE = ("--data", "tests.cli.tiny.ThreeClasses")
QUICK = ("--suite", "smoke", "--max_samples", "8")
HALVES: Any = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def classifier(classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone("resnet8_tiny", num_classes=classes)


def export(path: str, network: nn.Module, names: tuple[str, ...] = ()) -> Path:
    return export_model(
        network, path, normalize=HALVES, image_size=8, class_names=names
    )


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments), *QUICK]) == 1
    return capsys.readouterr().err


def test_an_exported_folder() -> None:
    exported = export("mine", classifier())
    assert main(["evaluate", "mine", *DATA, *QUICK]) == 0
    (report,) = Path("runs/mine").glob("evaluation-mine-smoke-*.json")
    content = json.loads(report.read_text())
    assert content["rows"][0]["name"] == "mine"
    assert content["rows"][0]["eps_text"] == "8/255"
    assert list(content["checkpoint_sha256"]) == ["mine/model.safetensors"]
    network = timm_networks.exported(exported, TinyDataModule())
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = classifier().eval()((images - 0.5) / 0.5)
        assert network(images).allclose(expected, atol=1e-5)


def test_a_network_of_timm_by_name_with_weights() -> None:
    save_backbone(classifier(), "weights.safetensors")
    named = ("--backbone", "resnet8_tiny", "--weights", "weights.safetensors", *DATA)
    assert main(["evaluate", *named, *QUICK, "--eps", "4/255"]) == 0
    assert list(Path("runs/resnet8_tiny").glob("evaluation-*-Linf-4-255.json"))
    few = ("--max_samples", "8", "--steps", "1", "--knn_k", "5")
    assert main(["encoder", *named, *few]) == 0
    fog = ("--corruptions", "fog", "--severities", "1", "--max_samples", "8")
    assert main(["corruptions", *named, *fog]) == 0


def test_members_share_the_images_of_the_first() -> None:
    export("a", classifier())
    save_backbone(classifier(), "weights.safetensors")
    shutil.copytree("a", "b")
    assert main(["evaluate", "a", "b", *DATA, *QUICK]) == 0
    (report,) = Path("runs/a").glob("*.json")
    assert json.loads(report.read_text())["rows"][0]["name"] == "ensemble of 2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mine", "--backbone", "resnet8_tiny", *DATA), "--backbone resnet8_tiny and"),
        (("--weights", "w.safetensors", *DATA), "with --backbone"),
        (("mine",), "mine comes without images; name them with --data"),
        (("mine", *THREE), "mine tells 2 classes apart, but the data have 3"),
        (("features", *DATA), "no classifier"),
        (("--backbone", "resnet8_tini", *DATA), "Did you mean 'resnet8_tiny'"),
        (("--backbone", "resnet8_tiny", *DATA), "give a file with --weights"),
        (
            ("--backbone", "test_resnet", "--weights", "w.safetensors", *DATA),
            "w.safetensors",
        ),
    ],
)
def test_refusals(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    export("mine", classifier())
    export("features", classifier(0))
    save_backbone(classifier(), "w.safetensors")
    shown = refusal(capsys, *arguments)
    assert words in shown
    assert len(shown.splitlines()) == 1
    assert not Path("runs").exists()


def test_a_folder_of_another_architecture(
    capsys: pytest.CaptureFixture[str],
) -> None:
    export("mine", classifier())
    config = json.loads(Path("mine/config.json").read_text())
    Path("mine/config.json").write_text(
        json.dumps({**config, "architecture": "test_resnet"})
    )
    assert "model.safetensors" in refusal(capsys, "mine", *DATA)
    Path("mine/config.json").write_text(
        json.dumps({**config, "architecture": "of-another-package"})
    )
    assert "'of-another-package'" in refusal(capsys, "mine", *DATA)


def test_classes_of_other_names_are_refused() -> None:
    class Named(TinyDataModule):
        classes = ("cow", "dog")

    exported = export("mine", classifier(), ("cat", "dog"))
    with pytest.raises(ValueError, match=r"'cat'.*'cow'.*--data"):
        timm_networks.exported(exported, Named())


def test_the_encoder_has_no_classifier() -> None:
    network = timm_networks.TimmNetwork(classifier(3), None)
    assert network.backbone(torch.rand(2, 3, 8, 8)).shape == (2, 128)
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 3)
