from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from lightly_adv.data import TorchvisionDataModule


class Cifar:
    """Stands in for a CIFAR set of torchvision: channels last, a list of targets."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        marker = Path(root) / "downloaded"
        if download:
            marker.touch()
        if not marker.exists():
            raise RuntimeError("Dataset not found or corrupted.")
        count = 40 if train else 20
        self.data = np.zeros((count, 32, 32, 3), dtype=np.uint8)
        self.data[:, 0, 1, 2] = np.arange(count)
        self.targets = [number % 10 for number in range(count)]


class Stl:
    """Stands in for STL-10: channels first, an array of labels."""

    def __init__(self, root: str, split: str, download: bool) -> None:
        count = 40 if split == "train" else 20
        self.data = np.full((count, 3, 96, 96), 255, dtype=np.uint8)
        self.labels = np.arange(count) % 10


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stand_in in {"CIFAR10": Cifar, "CIFAR100": Cifar, "STL10": Stl}.items():
        monkeypatch.setattr(datasets, name, stand_in)


def test_cifar(tmp_path: Path) -> None:
    (tmp_path / "downloaded").touch()
    data = TorchvisionDataModule("CIFAR10", root=tmp_path, val_fraction=0.25)
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (20, 3, 32, 32)
    assert torch.equal(images[:, 2, 0, 1], torch.arange(20) / 255)
    assert labels.tolist() == [number % 10 for number in range(20)]
    assert data.train_dataset.labels.bincount().tolist() == [3] * 10


def test_stl(tmp_path: Path) -> None:
    data = TorchvisionDataModule("STL10", root=tmp_path)
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (20, 3, 96, 96)
    assert labels.dtype == torch.int64
    assert (data.padding, data.image_size) == (12, 96)


@pytest.mark.parametrize(
    ("name", "classes"), [("CIFAR10", 10), ("CIFAR100", 100), ("STL10", 10)]
)
def test_number_of_classes(name: Any, classes: int, tmp_path: Path) -> None:
    assert TorchvisionDataModule(name, root=tmp_path).num_classes == classes


def test_missing_set_says_how_to_get_it(tmp_path: Path) -> None:
    data = TorchvisionDataModule("CIFAR10", root=tmp_path)
    data.prepare_data()
    match = r"CIFAR10 was not found in root=.*pass download=True to fetch it"
    with pytest.raises(FileNotFoundError, match=match):
        data.setup("fit")
    assert list(tmp_path.iterdir()) == []


def test_download_when_asked(tmp_path: Path) -> None:
    data = TorchvisionDataModule("CIFAR100", root=tmp_path, download=True)
    with pytest.raises(FileNotFoundError, match=r"call prepare_data\(\) first"):
        data.setup("fit")
    data.prepare_data()
    data.setup("fit")


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name='MNIST' is unknown; use one of"):
        TorchvisionDataModule("MNIST", root=tmp_path)  # type: ignore[arg-type]
