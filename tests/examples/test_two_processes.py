"""A distributed example on two processes, as it would run on two GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightly_adv.models import create_backbone, save_backbone
from tests.examples.watching import EXAMPLES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="needs the gloo backend"
    ),
]

DRIVER = """
import os
from pathlib import Path
import torch
from lightly_adv import AdversarialTraining
from lightly_adv.attacks import Attack

attack, seen = Attack.perturb_views, []

def watched(self, objective, views, **options):
    seen.append(views[0])
    return attack(self, objective, views, **options)

def on_train_end(self, trainer, module):
    content = {"seen": seen, "weights": dict(module.named_parameters())}
    torch.save(content, Path(os.environ["OUT"]) / f"{trainer.global_rank}.pt")

Attack.perturb_views = watched
AdversarialTraining.on_train_end = on_train_end
# Not runpy, which would put the example in the place of this script in sys.argv.
exec(Path(os.environ["EXAMPLE"]).read_text(), {"__name__": "__main__"})
"""
"""Runs an example, also in the process that Lightning starts with the same command."""


def test_processes_end_with_the_same_weights(images: Path, tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    example = EXAMPLES / "pytorch_lightning_distributed" / "moco.py"
    # With two images per process, BatchNorm makes the first step so long that the
    # running statistics no longer fit the weights: the attacked loss is then NaN for
    # one seed in ten.
    options = ["--devices", "2", "--epochs", "2", "--batch-size", "4"]
    added = {"EXAMPLE": str(example), "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), "--data", str(images), *options],
        cwd=tmp_path,
        env={**os.environ, **added, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    # Otherwise equal weights would show nothing.
    pairs = zip(first["seen"], second["seen"], strict=True)
    assert all(not torch.equal(here, there) for here, there in pairs)
    for key, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][key]), key
        assert weight.isfinite().all(), key


WATCHED = """
import os
from pathlib import Path
import torch
from lightly_adv.methods import RobustDistillation

def on_train_end(self):
    path = Path(os.environ["OUT"]) / f"{self.global_rank}.pt"
    torch.save(self.state_dict(), path)

RobustDistillation.on_train_end = on_train_end
exec(Path(os.environ["EXAMPLE"]).read_text(), {"__name__": "__main__"})
"""
"""Runs an example, and keeps the weights of each process."""


def test_an_encoder_made_robust_in_two_processes(images: Path, tmp_path: Path) -> None:
    driver, weights = tmp_path / "driver.py", tmp_path / "weights.safetensors"
    driver.write_text(WATCHED)
    save_backbone(create_backbone("resnet8_tiny"), weights)
    example = EXAMPLES / "robustify" / "distributed.py"
    source = ["--backbone", "resnet8_tiny", "--weights", str(weights)]
    size = ["--image-size", "16", "--batch-size", "2", "--steps", "3"]
    options = ["--data", str(images), *size, "--accelerator", "cpu", "--out", "out"]
    added = {"EXAMPLE": str(example), "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), *source, *options],
        cwd=tmp_path,
        env={**os.environ, **added, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    # Weights and the multiplier have moved, the teacher has not.
    moved = {key for key in first if key.startswith("backbone.conv1")}
    for key in moved:
        assert not torch.equal(first[key], first[key.replace("backbone", "teacher")])
    assert float(first["fidelity.log_multiplier"]) != 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
