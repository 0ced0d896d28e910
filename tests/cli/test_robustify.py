"""`lightly-adv robustify`: from a folder of images to an encoder that timm loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision.utils import save_image

from lightly_adv.cli.checkpoints import SaveLast
from lightly_adv.cli.main import main
from lightly_adv.models import create_backbone, save_backbone

pytestmark = pytest.mark.filterwarnings("ignore")


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Return a command line with eight images at two depths, one of them broken."""
    generator = torch.Generator().manual_seed(0)
    deep = tmp_path / "images" / "some" / "where"
    deep.mkdir(parents=True)
    for number in range(7):
        folder = deep if number % 2 else tmp_path / "images"
        image = torch.rand(3, 20, 24, generator=generator)
        save_image(image, folder / f"{number}.png")
    (deep / "broken.jpg").write_text("no image")
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_backbone(create_backbone("resnet8_tiny"), weights)
    source = ["--backbone", "resnet8_tiny", "--weights", str(weights)]
    size = ["--image_size", "16", "--batch_size", "4", "--steps", "5", "--fast"]
    data = ["--data", str(tmp_path / "images"), "--out", str(tmp_path / "run")]
    return [*source, *size, *data, "--accelerator", "cpu"]


def weights_of(folder: Path) -> dict[str, Any]:
    name = str(folder / "exported" / "model.safetensors")
    network = timm.create_model("resnet8_tiny", num_classes=0, checkpoint_path=name)
    found: dict[str, Any] = network.state_dict()
    return found


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    keys = first.keys()
    return keys == second.keys() and all(torch.equal(first[k], second[k]) for k in keys)


def test_from_a_folder_to_an_exported_encoder(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--keep", "0.05", "--eps", "8/255", "--measure", "4"]
    with pytest.warns(UserWarning, match=r"skipped: .*broken.jpg"):
        code = main(["robustify", *options, *extra])
    printed = capsys.readouterr().out
    assert code == 0
    for words in (
        "8 images, 16 x 16, mean 0.485/0.456/0.406",
        "9 BatchNorm layers, which keep their statistics",
        "Linf 8/255, 3 steps of 4/255; clean features may move by 5 %",
        "s per step, memory at most",
        "5 steps take",
        "step 5/5  attacked ",
    ):
        assert words in printed
    assert "  clean " in printed
    before = create_backbone("resnet8_tiny").state_dict()
    after = weights_of(tmp_path / "run")
    assert before.keys() == after.keys()
    card = (tmp_path / "run" / "exported" / "README.md").read_text()
    assert "rho = 0.05" in card
    measured = json.loads((tmp_path / "run" / "before-after.json").read_text())
    assert [row["name"] for row in measured["rows"]] == 4 * ["before"] + 4 * ["after"]
    assert "| before | 8/255 |" in (tmp_path / "run" / "before-after.md").read_text()
    # What was exported is an encoder to begin from.
    exported = str(tmp_path / "run" / "exported")
    rest = [*options[4:-4], "--accelerator", "cpu"]
    again = [exported, *rest, "--out", str(tmp_path / "again"), "--lora", "2"]
    assert main(["robustify", *again]) == 0
    assert weights_of(tmp_path / "again").keys() == before.keys()


@pytest.mark.parametrize("extra", [[], ["--lora", "2", "--keep", "0.1"]])
def test_a_kill_at_any_step_changes_nothing(
    options: list[str],
    extra: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight = [*options, *extra, "--out", str(tmp_path / "straight")]
    assert main(["robustify", *straight]) == 0

    steps = 0
    ending = SaveLast.on_train_batch_end

    def killed(self: SaveLast, trainer: Any, *args: Any) -> None:
        nonlocal steps
        self._due = 0.0  # a checkpoint after every step
        ending(self, trainer, *args)
        steps += 1
        if steps == 3:
            raise Killed

    monkeypatch.setattr(SaveLast, "on_train_batch_end", killed)
    with pytest.raises(Killed):
        main(["robustify", *options, *extra])
    assert main(["robustify", *options, *extra]) == 0
    assert same(weights_of(tmp_path / "straight"), weights_of(tmp_path / "run"))
    assert steps == 5


def test_a_run_that_was_begun_with_other_options_is_refused(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    settings = tmp_path / "run" / "settings.json"
    settings.write_text(json.dumps({"eps": 0.5}))
    assert main(["robustify", *options]) == 1
    assert "was begun with" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["robustify", "--dry_run"], ["doctor"]])
def test_what_it_would_take_without_training(
    command: list[str],
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command, *options]) == 0
    assert not (tmp_path / "run").exists()
    assert "5 steps take" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--keep", "0"], r"rho=0.0 must lie in (0, 1]"),
        (["--keep", "1.5"], r"rho=1.5 must lie in (0, 1]"),
        (["--tokens", "patch"], "has no tokens; use 'pooled' or 'map'"),
        (["--trainable", "blocks"], "trainable='blocks' is unknown"),
        (["--data", "nowhere"], "there is no folder nowhere"),
        (["--weights", "nothing.safetensors"], "nothing.safetensors"),
        (["--eps", "4"], "did you mean eps=4 / 255?"),
    ],
)
def test_bad_input(
    options: list[str],
    extra: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["robustify", *options, *extra]) == 1
    assert words in capsys.readouterr().err


def test_bad_encoders_and_folders(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    data = ["--data", str(tmp_path / "images"), "--out", str(tmp_path / "run")]
    vit = tmp_path / "vit.safetensors"
    save_backbone(create_backbone("test_vit"), vit)
    size = ["--image-size", "90"]
    for arguments, words in (
        ([*options, "--data", str(empty)], "holds no images, at any depth"),
        (["--backbone", "resnet8_tiny", *data], "random encoder has nothing to keep"),
        (data, "neither is given"),
        (
            ["--backbone", "test_vit", "--weights", str(vit), *size, *data],
            "do not fit patches of 16 x 16; use 80 or 96",
        ),
    ):
        assert main(["robustify", *arguments]) == 1
        assert words in capsys.readouterr().err


def test_a_vit_at_another_size_keeps_its_keys(
    options: list[str], tmp_path: Path
) -> None:
    vit = tmp_path / "vit.safetensors"
    network = create_backbone("test_vit")
    save_backbone(network, vit)
    source = ["--backbone", "test_vit", "--weights", str(vit), "--image-size", "48"]
    rest = ["--tokens", "patch", "--steps", "2"]
    assert main(["robustify", *options, *source, *rest]) == 0
    name = str(tmp_path / "run" / "exported" / "model.safetensors")
    again = timm.create_model("test_vit", num_classes=0, checkpoint_path=name)
    assert again.pos_embed.shape == network.pos_embed.shape
