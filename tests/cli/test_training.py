"""pretrain, finetune and evaluate, one after the other, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.cli.conftest import TINY, Command

ATTACK = (
    "--model.attack",
    "PGD",
    "--model.attack.threat_model.eps",
    "8/255",
    "--model.attack.steps",
    "1",
)
TWO_EPOCHS = ("--trainer.max_epochs", "2")
QUICK = ("--evaluation.suite", "smoke", "--evaluation.max_val_samples", "8")
LAST = Path("checkpoints", "last.ckpt")

pytestmark = pytest.mark.filterwarnings("ignore")


def read(path: Path | str) -> Any:
    return json.loads(Path(path).read_text())


def steps(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def test_pretrain_writes_everything_it_promises(command: Command) -> None:
    assert command("pretrain", *ATTACK, *TWO_EPOCHS) == 0
    out = Path("runs/pretrain")
    assert load_file(out / "backbone.safetensors")
    assert {each.name for each in (out / "checkpoints").iterdir()} == {
        "best-clean.ckpt",
        "best-robust.ckpt",
        "last.ckpt",
        "before-last.ckpt",
    }
    (row,) = read(out / "result.json")["rows"]
    assert 0 <= row["robust_accuracy"] <= 100
    assert 0 <= row["clean_accuracy"] <= 100
    run = read(out / "run.json")
    assert (run["status"], run["seed"], run["epochs"]) == ("finished", 0, 2)
    assert run["command"][:2] == ["lightly-adv", "pretrain"]
    config = yaml.safe_load((out / "config.yaml").read_text())
    attack = config["model"]["init_args"]["attack"]
    assert attack["init_args"]["threat_model"]["eps"] == 8 / 255


def test_an_older_run_is_never_written_over(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pretrain", "--trainer.max_epochs", "1") == 0
    before = Path("runs/pretrain/result.json").read_text()
    assert command("pretrain", "--trainer.max_epochs", "1") == 1
    assert "choose another folder with --out" in capsys.readouterr().err
    assert Path("runs/pretrain/result.json").read_text() == before


def test_the_saved_config_repeats_the_run(command: Command) -> None:
    assert command("pretrain", *ATTACK, *TWO_EPOCHS) == 0
    again = ("--config", "runs/pretrain/config.yaml", "--out", "runs/again")
    assert command("pretrain", *again) == 0
    first, second = (
        load_file(f"runs/{name}/backbone.safetensors") for name in ("pretrain", "again")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("data", "words"),
    [("NoTestImages", "no folder data/test"), ("EmptyTestSet", "is empty")],
)
def test_missing_test_images_are_told_before_the_first_step(
    data: str, words: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--trainer.max_epochs", "1", "--data", f"tests.cli.tiny.{data}")
    assert command("finetune", *QUICK, *options) == 1
    captured = capsys.readouterr()
    assert words in captured.err
    assert "epoch" not in captured.out
    assert not Path("runs/finetune").exists()


def test_finetune_then_evaluate(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pretrain", "--trainer.max_epochs", "1") == 0
    checkpoint = "runs/pretrain/backbone.safetensors"
    options = (*ATTACK, *TWO_EPOCHS, *QUICK, "--model.checkpoint", checkpoint)
    assert command("finetune", *options) == 0
    assert "tensors loaded" in capsys.readouterr().out
    rows = read("runs/finetune/result.json")["rows"]
    assert [row["name"] for row in rows] == ["last", "best-clean", "best-robust"]
    for row in rows:
        assert 0 <= row["robust_accuracy"] <= row["clean_accuracy"] <= 100
        assert row["measured_with"] == "smoke, Linf 8/255, 32 images"

    # The backbone is in the weights; where it came from may be gone.
    Path(checkpoint).unlink()
    last = str("runs/finetune" / LAST)
    assert command("evaluate", last, "--eps", "0", "--suite", "smoke") == 0
    shown = capsys.readouterr().out
    report = read("runs/finetune/evaluation-last-smoke-Linf-0.json")
    (row,) = report["rows"]
    assert row["clean_accuracy"] == row["robust_accuracy"] == rows[0]["clean_accuracy"]
    assert f"clean {row['clean_accuracy']:.1f} %" in shown

    assert command("evaluate", last, "--eps", "0", "--suite", "smoke") == 1
    assert "exists; choose another file with --out" in capsys.readouterr().err
    other = (
        "--norm",
        "L2",
        "--eps",
        "0.5",
        "--max_samples",
        "8",
        "--out",
        "other.json",
    )
    assert command("evaluate", last, *other) == 0
    (row,) = read("other.json")["rows"]
    assert (row["norm"], row["eps"], row["num_samples"]) == ("L2", 0.5, 8)


def test_resuming_equals_not_stopping(command: Command) -> None:
    config = ("--config", "runs/short/config.yaml")
    goes_on = (*config, "--ckpt_path", str("runs/short" / LAST), *TWO_EPOCHS)
    constant = ("--model.warmup", "1.0", "--model.lr", "0.0")
    assert command("pretrain", *TWO_EPOCHS, *constant, "--out", "runs/long") == 0
    one = ("--trainer.max_epochs", "1", *constant, "--out", "runs/short")
    assert command("pretrain", *one) == 0
    assert steps("runs/short" / LAST) == 3
    assert command("pretrain", *goes_on) == 0
    assert steps("runs/short" / LAST) == steps("runs/long" / LAST) == 6
    assert read("runs/short/run.json")["resumed_from"] == str("runs/short" / LAST)


YAML = """
model: {class_path: tests.cli.own.OwnModule}
data: {class_path: tests.cli.tiny.TinyDataModule}
trainer:
  max_epochs: 1
  callbacks:
    - class_path: lightly_adv.AdversarialTraining
      init_args:
        attack:
          class_path: lightly_adv.PGD
          init_args: {threat_model: {eps: 8/255}, steps: 2, step_size: 4/255}
"""


def test_a_module_of_ones_own_with_the_callback_from_yaml(command: Command) -> None:
    Path("own.yaml").write_text(YAML)
    from lightly_adv.cli.main import main

    assert main(["pretrain", "--config", "own.yaml"]) == 0
    config = yaml.safe_load(Path("runs/pretrain/config.yaml").read_text())
    (callback,) = config["trainer"]["callbacks"]
    attack = callback["init_args"]["attack"]["init_args"]
    assert attack["threat_model"]["eps"] == 8 / 255
    logged = read("runs/pretrain/result.json")["logged"]
    assert logged["seen_perturbed"] == 1


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C until it works: Python loses one that meets a finaliser."""
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=60)
    process.kill()
    return process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(
    command: Command, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from lightly_adv.cli.main import main; sys.exit(main())",
            *("pretrain", *TINY, "--trainer.max_epochs", "100000"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    last = "runs/pretrain" / LAST
    deadline = time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    out, err = interrupted(process)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped; go on with: lightly-adv pretrain --config" in out
    assert read("runs/pretrain/run.json")["status"] == "interrupted"

    stopped = torch.load(last, weights_only=True)
    epochs = str(stopped["epoch"] + 2)
    goes_on = ("--config", "runs/pretrain/config.yaml", "--ckpt_path", str(last))
    assert command("pretrain", *goes_on, "--trainer.max_epochs", epochs) == 0
    assert steps(last) > stopped["global_step"]


def test_a_checkpoint_of_another_model_is_told_in_one_line(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("pretrain", "--trainer.max_epochs", "1", "--out", "runs/one") == 0
    last = Path("runs/one") / LAST
    other = ("--model.backbone", "resnet18_small")
    out = ("--ckpt_path", str(last), "--out", "runs/other")
    assert command("pretrain", *other, *out) == 1
    error = capsys.readouterr().err
    assert f"{last} is a checkpoint of another model" in error
    assert "config.yaml" in error
    assert "Traceback" not in error
