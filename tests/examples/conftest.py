"""Images for the examples."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from tests.examples.watching import IMAGES


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with as many random images as are in a batch, of two classes."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for at in range(IMAGES):
        folder = root / ("cat", "dog")[at % 2]
        folder.mkdir(exist_ok=True)
        smooth = torch.rand(1, 3, 4, 4, generator=generator)
        image = torch.nn.functional.interpolate(smooth, size=32, mode="bilinear")
        save_image(image[0], folder / f"{at}.png")
    return root


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no checkpoint, environment variable, thread or process group behind."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    # Where it is not set, Lightning chooses a number of threads for DDP.
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)
    shutil.rmtree("lightning_logs", ignore_errors=True)
