"""CIFAR comes as pickles: torchvision itself reads those that were published only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from lightly_adv.data import TorchvisionDataModule

FILES = {
    "CIFAR10": (
        "cifar-10-batches-py",
        [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"],
    ),
    "CIFAR100": ("cifar-100-python", ["train", "test", "meta"]),
}


class Malicious:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("was-run"),)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_pickles_of_somebody_else_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any, stage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, files = FILES[name]
    (tmp_path / folder).mkdir()
    for file in files:
        (tmp_path / folder / file).write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(FileNotFoundError, match="or is damaged there"):
        TorchvisionDataModule(name, root=tmp_path).setup(stage)
    assert not (tmp_path / "was-run").exists()
