from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from lightly_adv import PGD, ThreatModel
from lightly_adv.data import DigitsDataModule, ImageNet32DataModule
from lightly_adv.methods import PretextModule, RobustClassifier
from lightly_adv.models import save_backbone

PER_BATCH, CLASSES = 20, 5


def batch(number: int, size: int = 32) -> dict[str, Any]:
    """Images whose first pixel is red, as bright as the number of the image."""
    data = np.full((PER_BATCH, 3 * size**2), 7, dtype=np.uint8)
    data[:, 0] = PER_BATCH * number + np.arange(PER_BATCH)
    labels = [1 + each % CLASSES for each in range(PER_BATCH)]
    return {"data": data, "labels": labels, "mean": data.mean(axis=0)}


def write(root: Path, *, size: int = 32, batches: int = 10) -> Path:
    """Write training and test files as they are published."""
    train, val = root / "Imagenet32_train_npz", root / "Imagenet32_val_npz"
    names = {f"train_data_batch_{n + 1}": (train, n) for n in range(batches)}
    for name, (folder, number) in {**names, "val_data": (val, 11)}.items():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{name}.npz", **batch(number, size))
    return root


def test_the_files_as_published(tmp_path: Path) -> None:
    root = write(tmp_path)
    data = ImageNet32DataModule(root, val_fraction=0.25, batch_size=64)
    assert (data.num_classes, data.image_size, data.padding) == (1000, 32, 4)
    train, val = data.train_dataset, data.val_dataset
    assert val is not None
    assert (len(train), len(val), len(data.test_dataset)) == (150, 50, 20)
    assert val.labels.bincount().tolist() == [10] * CLASSES

    # Batches in the order of their numbers: 10 comes after 9, not after 1.
    images = train.images.source(torch.arange(200))
    assert images[:, 0, 0, 0].tolist() == list(range(200))
    assert train.images.labels[:6].tolist() == [0, 1, 2, 3, 4, 0]

    images, labels = next(iter(data.val_dataloader()))
    assert (images.shape, images.dtype) == ((50, 3, 32, 32), torch.float32)
    assert torch.equal(images[:, 0, 0, 0], val.indices / 255)
    assert torch.equal(images[:, :, 1:], torch.full_like(images[:, :, 1:], 7 / 255))
    assert labels.dtype == torch.int64


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    source: Any = ImageNet32DataModule(write(tmp_path)).load_train().source
    assert len(source.parts) == 10
    assert all(isinstance(part.base, np.memmap) for part in source.parts)
    assert source(torch.arange(3)).dtype == torch.uint8


def test_other_sizes(tmp_path: Path) -> None:
    root = write(tmp_path, size=16, batches=1)
    data = ImageNet32DataModule(root, image_size=16)
    assert data.test_dataset[0][0].shape == (3, 16, 16)
    assert data.padding == 2
    with pytest.raises(ValueError, match=r"768 numbers each, not 3 x 32 x 32; pass im"):
        ImageNet32DataModule(root).setup("fit")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "train_data_batch_1").write_bytes(pickle.dumps(batch(0)))
    with pytest.raises(FileNotFoundError, match=r"batch_1\.npz.*convert"):
        ImageNet32DataModule(tmp_path).setup("fit")


def test_two_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, batches=1)
    np.savez(tmp_path / "train_data_batch_1.npz", **batch(0))
    with pytest.raises(ValueError, match=r"batch_1\.npz and .*are the same batch"):
        ImageNet32DataModule(tmp_path).setup("fit")


def test_labels_may_start_at_another_number(tmp_path: Path) -> None:
    root = write(tmp_path, batches=1)
    with pytest.raises(
        ValueError, match=r"go from 1 to 5, expected 1 to 4; pass first"
    ):
        ImageNet32DataModule(root, num_classes=4).setup("fit")
    data = ImageNet32DataModule(root, num_classes=6, first_label=0)
    assert set(data.train_dataset.labels.tolist()) == {1, 2, 3, 4, 5}


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no train_data_batch_1\.npz"):
        ImageNet32DataModule(tmp_path).setup("fit")
    with pytest.raises(FileNotFoundError, match=r"holds no val_data\.npz"):
        ImageNet32DataModule(tmp_path).setup("test")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nix"):
        ImageNet32DataModule(tmp_path / "nix").setup("fit")


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"image_size=32 and num_classes=0; expected"):
        ImageNet32DataModule("x", num_classes=0)


@pytest.mark.filterwarnings("ignore")
def test_pre_training_here_and_fine_tuning_on_another_set(tmp_path: Path) -> None:
    """The classes differ in number; the backbone alone goes from one to the other."""
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "limit_val_batches": 1,
    }
    attack = PGD(ThreatModel(eps=8 / 255), steps=1)
    module = PretextModule("rotation", backbone="resnet8_tiny", attack=attack)
    root = write(tmp_path, batches=4)
    data = ImageNet32DataModule(root, batch_size=16, fraction=0.5)
    pl.Trainer(**options).fit(module, datamodule=data)
    save_backbone(module.backbone, tmp_path / "backbone.safetensors")

    digits = DigitsDataModule(num_labelled=20, batch_size=20)
    classifier = RobustClassifier(
        "resnet8_tiny",
        num_classes=digits.num_classes,
        attack=attack,
        checkpoint=tmp_path / "backbone.safetensors",
    )
    trainer = pl.Trainer(**options)
    trainer.fit(classifier, datamodule=digits)
    assert trainer.callback_metrics["train_loss"].isfinite()
    assert classifier.num_classes == 10
