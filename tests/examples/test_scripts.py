"""The examples run, on tiny data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

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


def pictures(root: Path) -> Path:
    """Write a picture folder with two classes."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 20), ("test", 4)):
        for label in ("cat", "dog"):
            folder = root / part / label
            folder.mkdir(parents=True)
            for at in range(count):
                picture = torch.rand(3, 32, 32, generator=generator)
                save_image(picture, folder / f"{at}.png")
    return root


def test_rotation(tmp_path: Path) -> None:
    protocol = "{name: AFF, trainable: all, attacked: true, epochs: 1}"
    arguments = (
        "pytorch_lightning/rotation.py",
        *("--data", str(pictures(tmp_path / "data")), "--seeds", "0", "--set"),
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


def test_attack_speed(tmp_path: Path) -> None:
    arguments = ("--rounds", "1", "--batch", "2", "--backbone", "resnet8_tiny")
    printed = run("benchmarks/attack_speed.py", *arguments, folder=tmp_path)
    assert "ours, isolated" in printed
