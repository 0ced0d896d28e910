"""The examples run, on tiny data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from lightly_adv.cli.main import main
from lightly_adv.models import create_backbone, save_backbone

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str, folder: Path) -> str:
    """Run an example in a folder of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def images(root: Path) -> Path:
    """Write an image folder with two classes."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 20), ("test", 4)):
        for label in ("cat", "dog"):
            folder = root / part / label
            folder.mkdir(parents=True)
            for at in range(count):
                image = torch.rand(3, 32, 32, generator=generator)
                save_image(image, folder / f"{at}.png")
    return root


def test_rotation(tmp_path: Path) -> None:
    protocol = "{name: AFF, trainable: all, attacked: true, epochs: 1}"
    arguments = (
        "pytorch_lightning/rotation.py",
        *("--data", str(images(tmp_path / "data")), "--seeds", "0", "--set"),
        "pretraining.epochs=1",
        "pretraining.arms=[none, adversarial]",
        "pretraining.data.batch_size=8",
        "fine_tuning.data={batch_size: 8, num_labelled: 16}",
        f"fine_tuning.protocols=[{protocol}]",
    )
    printed = run(*arguments, folder=tmp_path)
    assert "adversarial + AFF" in printed
    results = tmp_path / "runs" / "rotation_cifar10" / "results.json"
    names = [row["name"] for row in json.loads(results.read_text())["rows"]]
    assert names == ["adversarial + AFF", "none + AFF"]
    # Stages that are done are not done again.
    assert "epoch" not in run(*arguments, folder=tmp_path)


def members(group: int) -> int:
    """Return how many processes there are in a group."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        count += fields[2] == str(group) and fields[0] != "Z"
    return count


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_rotation_ends_with_its_workers(tmp_path: Path) -> None:
    script = str(EXAMPLES / "pytorch_lightning" / "rotation.py")
    data = str(images(tmp_path / "data"))
    process = subprocess.Popen(
        [sys.executable, script, "--data", data, "--seeds", "0"],
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        # Itself, the worker of the one seed, and the tracker of multiprocessing.
        wait_until(lambda: members(process.pid) == 3, seconds=200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=200) == 128 + signal.SIGTERM
        wait_until(lambda: members(process.pid) == 0, seconds=20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_attack_speed(tmp_path: Path) -> None:
    arguments = ("--rounds", "1", "--batch", "2", "--backbone", "resnet8_tiny")
    printed = run("benchmarks/attack_speed.py", *arguments, folder=tmp_path)
    assert "ours, isolated" in printed


def test_isolation(tmp_path: Path) -> None:
    arguments = ("--rounds", "2", "--batch", "2", "--cases", "resnet18, 32 pixels")
    printed = run("benchmarks/isolation.py", *arguments, folder=tmp_path)
    assert "median ratio" in printed


def test_autoattack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    size = ("--data.num_labelled", "20", "--data.batch_size", "10")
    short = ("--trainer.max_epochs", "1", "--evaluation.suite", "smoke")
    backbone = ("--model.backbone", "resnet8_tiny")
    assert main(["finetune", *backbone, *size, *short, "--out", "run"]) == 0
    script, checkpoint = "benchmarks/autoattack.py", "run/checkpoints/last.ckpt"
    # Few of these are right after so little training, so that little is attacked.
    small = ("--samples", "6", "--batch-size", "6", "--eps", "0.5")
    printed = run(script, checkpoint, *small, folder=tmp_path)
    assert "autoattack-standard and pyautoattack: 0 verdicts differ" in printed
    assert "autoattack-standard and apgd: 0 verdicts differ" in printed


def test_robustify_quickstart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_backbone(create_backbone("resnet8_tiny"), weights)
    source = ("--backbone", "resnet8_tiny", "--weights", str(weights))
    size = ("--image-size", "16", "--steps", "2", "--tested", "6")
    data = ("--data", str(images(tmp_path / "data")), "--out", "out")
    printed = run("robustify/quickstart.py", *source, *size, *data, folder=tmp_path)
    assert "after: eps 2/255" in printed
    assert (tmp_path / "out" / "exported" / "model.safetensors").is_file()


def test_robustify_benchmark(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_backbone(create_backbone("resnet8_tiny"), weights)
    source = ("--backbone", "resnet8_tiny", "--weights", str(weights))
    data = ("--data", str(images(tmp_path / "data")), "--out", "out", "--tiny")
    few = ("--workers", "1", "--seeds", "0", "--arms", "fare", "lora")
    script = "benchmarks/robustify.py"
    printed = run(script, *source, *data, *few, folder=tmp_path)
    assert "| FARE: L2, all layers |" in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["rows"][0]["name"] == "before"
    # What is done is not done again.
    assert "training-fare-0:" not in run(script, *source, *data, *few, folder=tmp_path)
