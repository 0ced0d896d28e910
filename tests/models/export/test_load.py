"""Folders that are damaged, of another network, or meant to do harm."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightly_adv.models import create_backbone, load_backbone
from lightly_adv.models.export import export_model, folder, load_exported
from tests import damage

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(
        create_backbone("resnet8_tiny"), tmp_path_factory.mktemp("export") / "mine"
    )


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


class Harm:
    """Touches a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def shorten(share: float, name: str = "model.safetensors") -> Change:
    def change(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(share * len(content))])

    return change


def replace(name: str, text: str) -> Change:
    return lambda path: (path / name).write_text(text)


def with_config(**changes: Any) -> Change:
    def change(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def with_weights(edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(path: Path) -> None:
        state = load_file(path / "model.safetensors")
        edit(state)
        save_file(state, path / "model.safetensors")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorten(0.5), "is not a safetensors file"),
        (shorten(0.0), "is not a safetensors file"),
        (shorten(0.5, "config.json"), "config.json is not JSON"),
        (replace("config.json", "[]"), "config.json is not the configuration"),
        (replace("config.json", '{"architecture": "resnet18"}'), "'model_args' in it"),
        (with_config(architecture="resnet18"), "lacks|comes from another architecture"),
        (with_config(architecture="resnet8_tinny"), "which timm does not know"),
        (with_config(architecture="hf-hub:someone/net"), "which timm does not know"),
        (with_config(model_args={"checkpoint_path": "x"}), r"\['checkpoint_path'\] am"),
        (with_config(model_args={"layers": "no"}), "timm cannot create resnet8_tiny"),
        (
            with_weights(lambda s: s.pop("bn1.weight")),
            "lacks 1 of the 54 .* bn1.weight",
        ),
        (
            with_weights(lambda s: s.update(extra=torch.ones(1))),
            "1 tensors that resnet8_tiny does not have, such as 'extra'",
        ),
        (
            with_weights(lambda s: s.update({"bn1.weight": torch.ones(3)})),
            r"bn1.weight is \(3,\) there",
        ),
    ],
)
def test_damage_is_told_in_one_error(path: Path, change: Change, message: str) -> None:
    change(path)
    with pytest.raises(ValueError, match=message):
        load_exported(path)


def test_pickles_are_not_opened(path: Path, tmp_path: Path) -> None:
    trap = tmp_path / "harm"
    weights = path / "model.safetensors"
    weights.write_bytes(pickle.dumps(Harm(trap)))
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_exported(path)
    weights.rename(path / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"pytorch_model.bin is a pickle, which"
    ):
        load_exported(path)
    torch.save({"conv1.weight": Harm(trap)}, tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="can run code when they are opened"):
        load_backbone(create_backbone("resnet8_tiny"), tmp_path / "foreign.pt")
    assert not trap.exists()


def test_missing_files_are_named(path: Path) -> None:
    (path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config.json; expected the config"):
        load_exported(path)


def test_whatever_is_damaged_in_the_configuration_is_told_in_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "build", lambda _: create_backbone("resnet8_tiny"))
    config = path / "config.json"
    content = json.loads(config.read_text())
    told = damage.complaints(config, content, lambda: load_exported(path))
    assert len(told) > 50
    assert all("config.json" in text and "\n" not in text for text in told)
