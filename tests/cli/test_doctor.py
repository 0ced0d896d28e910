from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from lightly_adv.cli.main import main
from tests.cli.conftest import TINY, Command

pytestmark = pytest.mark.filterwarnings("ignore")

OWN = """
from beside import CLASSES
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn


class Own(pl.LightningModule):
    def __init__(self, classes: int = CLASSES):
        super().__init__()
        self.net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.fc = nn.Linear(12, classes)

    def training_step(self, batch, batch_idx):
        images, labels = batch[0], batch[1]
        self.log("size", len(images))
        images = images[0] if isinstance(images, list) else images
        return F.cross_entropy(self.fc(torch.tanh(self.net(images))), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""

CALLBACK = """
model: {class_path: tests.doctor.healthy.Healthy}
data: {class_path: tests.cli.tiny.TinyDataModule}
trainer:
  callbacks:
    - class_path: lightly_adv.AdversarialTraining
      init_args:
        mode: dual
        attack:
          class_path: lightly_adv.PGD
          init_args: {threat_model: {eps: 4/255}, steps: 2}
"""

TINY_DATA = TINY[:2]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write a module into a file, and something that it imports beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("code").mkdir()
    Path("code/beside.py").write_text("CLASSES = 10\n")
    Path("code/own_module.py").write_text(OWN)
    yield "code/own_module.py"
    for name in ("beside", "own_module"):
        sys.modules.pop(name, None)


def seen(text: str) -> dict[str, str]:
    """Return the statuses in a table."""
    rows = [line for line in text.splitlines() if line[:4] in ("PASS", "WARN", "FAIL")]
    return {line[6:19].strip(): line[:4] for line in rows}


def test_a_module_in_a_file_on_random_images(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"{own}:Own", "--data.size", "16"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "Own; views: 2 of 8 x 3 x 16 x 16; PGD, Linf 8/255, 5 steps;"
    )
    statuses = seen(shown)
    assert statuses.pop("data") == "WARN"
    assert set(statuses.values()) == {"PASS"}
    assert statuses["gradient"] == statuses["loss"] == statuses["labels"] == "PASS"
    assert not list(Path().glob("runs/*"))
    # The only module in a file need not be named.
    assert main(["doctor", own, "--data.views", "0"]) == 0
    assert "views: 1 of 8 x 3 x 64 x 64" in capsys.readouterr().out


SCRIPT = """
import argparse
import torch
from own_module import Own
from lightly_adv import PGD, AdversarialTraining, ThreatModel
import pytorch_lightning as pl

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=8)
size = parser.parse_args().size

pl.seed_everything(3)
images, labels = torch.rand(16, 3, size, size), torch.arange(16) % 10
data = torch.utils.data.TensorDataset(images, labels)
callback = AdversarialTraining(PGD(ThreatModel(eps=2 / 255), steps=2), mode="dual")
trainer = pl.Trainer(
    max_epochs=1, callbacks=[callback], precision="bf16-mixed", accelerator="cpu"
)
trainer.fit(model=Own(), train_dataloaders=torch.utils.data.DataLoader(data, 8))
raise AssertionError("it went on")
"""


def test_a_script_is_examined_where_it_would_train(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("code/train.py").write_text(SCRIPT)
    before = sorted(Path().rglob("*"))
    assert main(["doctor", "code/train.py", "--size", "12"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "Own; views: 1 of 8 x 3 x 12 x 12; PGD, Linf 2/255, 2 steps; bf16-mixed; cpu"
    )
    assert set(seen(shown).values()) == {"PASS"}
    assert "the seed is 3" in shown
    assert "one step = 32 forward" in shown
    assert sorted(Path().rglob("*")) == before


def test_data_attack_and_arguments_of_the_module(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = ("--attack", "PGD", "--attack.threat_model.eps", "4/255")
    options = (*TINY_DATA, *attack, "--attack.steps", "2", "--model.classes", "2")
    assert main(["doctor", own, *options]) == 0
    shown = capsys.readouterr().out
    assert "PGD, Linf 4/255, 2 steps" in shown
    assert "a head of 2 classes, 2 classes in the data" in shown
    assert main(["doctor", own, *TINY_DATA, "--model.classes", "1"]) == 1
    assert seen(capsys.readouterr().out)["labels"] == "FAIL"


def test_a_module_by_its_import_path(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tests.doctor.healthy:Healthy", "tests.doctor.healthy.Healthy"):
        assert main(["doctor", name, *TINY_DATA]) == 0
        assert capsys.readouterr().out.startswith("Healthy; views: 1 of 8 x 3 x 8 x 8;")


def test_a_config_brings_the_callback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(CALLBACK)
    assert main(["doctor", str(config)]) == 0
    shown = capsys.readouterr().out
    assert "PGD, Linf 4/255, 2 steps" in shown
    # Two streams, and two evaluations of 8 images.
    assert "one step = 32 forward + 32 backward" in shown
    assert main(["doctor", str(config), "--attack", "FGSM"]) == 0
    assert "FGSM, Linf 8/255, 1 steps" in capsys.readouterr().out


def test_folders_of_runs(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    attack = ("--model.attack", "PGD", "--model.attack.steps", "1")
    one = ("--trainer.max_epochs", "1")
    assert command("pretrain", *attack, *one) == 0
    assert command("finetune", *attack, *one, "--evaluation.suite", "smoke") == 0
    before = {path: path.stat().st_mtime for path in Path("runs").rglob("*")}
    capsys.readouterr()

    assert command("doctor", "runs/pretrain") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "PretextModule; views: 1 of 8 x 3 x 8 x 8; PGD, Linf 8/255, 1"
    )
    assert seen(shown)["batch norm"] == "PASS"
    # Other weights, to see that they are loaded.
    checkpoint = torch.load("runs/pretrain/checkpoints/last.ckpt", weights_only=True)
    next(v for k, v in checkpoint["state_dict"].items() if "var" in k).fill_(torch.inf)
    torch.save(checkpoint, "broken.ckpt")
    options = ("--ckpt_path", "broken.ckpt")
    assert command("doctor", "runs/pretrain/config.yaml", *options) == 0
    assert "statistics of 1 layer are not finite" in capsys.readouterr().out

    assert command("doctor", "runs/finetune") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("RobustClassifier;")
    assert "a head of 2 classes, 2 classes in the data" in shown
    assert {path: path.stat().st_mtime for path in Path("runs").rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nix.yaml", "nix.yaml"),
        ("nix.py:Own", "there is no file at nix.py"),
        ("empty.py", "defines 0 LightningModules (none); say which one"),
        ("loop.py", "takes a step of an optimiser by itself, in line 6, before any"),
        ("broken.yaml", "broken.yaml is no YAML: mapping values are not allowed"),
        ("listed.yaml", "listed.yaml holds a list; expected a config"),
        ("tests.doctor.healthy:Nix", "Nix"),
        (
            "tests.doctor.healthy:Healthy --nonsense 1",
            "unrecognized arguments: --nonsense",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    command: Command, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.py").write_text("import torch\n")
    Path("loop.py").write_text(LOOP)
    Path("broken.yaml").write_text("model: a: b")
    Path("listed.yaml").write_text("[1, 2]")
    assert command("doctor", *arguments.split()) == 1
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("lightly-adv: error: ")
    assert message in shown
    assert not Path("trained").exists()


LOOP = """
import torch
weight = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.AdamW([weight])
weight.square().sum().backward()
optimizer.step()
open("trained", "w").close()
"""


def test_a_file_is_run_once(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(own).write_text(OWN + "\nopen('runs.txt', 'a').write('once ')\n")
    assert main(["doctor", own, *TINY_DATA]) == 0
    assert Path("runs.txt").read_text() == "once "


def test_a_script_may_end_by_exit(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(own).write_text(OWN + "\nimport sys\nsys.exit(0)\n")
    assert main(["doctor", own, *TINY_DATA]) == 0
    assert capsys.readouterr().out.startswith("Own;")
    assert main(["doctor", f"{own}:", *TINY_DATA]) == 0


def test_a_step_that_exits_fails(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(own).write_text(OWN.replace("return F.cross", "exit(3)\n        F.cross"))
    assert main(["doctor", own, *TINY_DATA]) == 1
    assert "SystemExit: 3 (raised in training_step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "super().__init__()",
            "super().__init__(); raise RuntimeError('oops')",
            "oops",
        ),
        ("class Own", "raise RuntimeError('at once')\n\n\nclass Own", "at once"),
        ("class Own", "class class Own", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_made_fails(
    own: str, before: str, after: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(own).write_text(OWN.replace(before, after))
    assert main(["doctor", f"{own}:Own", *TINY_DATA]) == 1
    shown = capsys.readouterr().out
    assert seen(shown) == {"start": "FAIL"}
    assert message in shown


def test_an_attack_that_cannot_be_made_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attack = ("--attack", "PGD", "--attack.threat_model.eps", "8")
    assert main(["doctor", "tests.doctor.healthy:Healthy", *attack]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "FAIL start eps=8 is larger than" in shown
    assert "did you mean eps=8 / 255?" in shown


def test_a_traceback_is_shown_when_asked_for(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(own).write_text(
        OWN.replace("return F.cross", "raise KeyError('x')\n        F.cross")
    )
    for asked in (False, True):
        if asked:
            monkeypatch.setenv("LIGHTLY_ADV_TRACEBACK", "1")
        assert main(["doctor", own, *TINY_DATA]) == 1
        shown = capsys.readouterr().out
        assert "KeyError: 'x' (raised in training_step, own_module.py:" in shown
        assert ("Traceback (most recent call last)" in shown) == asked


def test_precision_of_the_config_counts(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path("own.yaml")
    content = yaml.safe_load(CALLBACK)
    content["trainer"]["precision"] = "bf16-mixed"
    config.write_text(yaml.safe_dump(content))
    assert main(["doctor", str(config), "--seed_everything", "7"]) == 0
    shown = capsys.readouterr().out
    assert "bf16-mixed, parameters in float32" in shown
    assert "the seed is 7" in shown
    assert torch.get_default_dtype() == torch.float32


def test_a_class_of_the_other_lightning_is_examined_in_its_trainer(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightning.pytorch")
    Path(own).write_text(OWN.replace("import pytorch_lightning", "import lightning"))
    assert main(["doctor", f"{own}:Own", "--data.size", "16"]) == 0
    assert seen(capsys.readouterr().out)["gradient"] == "PASS"


def test_a_trainer_of_the_other_lightning_is_told(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightning.pytorch")
    other = SCRIPT.replace("import pytorch_lightning", "import lightning")
    Path("code/train.py").write_text(other)
    assert main(["doctor", "code/train.py"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "the Trainer is one of lightning.pytorch, and Own is of" in shown
