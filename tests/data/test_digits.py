from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser

from lightly_adv.data import DigitsDataModule, ImageDataModule

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def test_every_scan_is_there_once() -> None:
    data = DigitsDataModule(val_fraction=0.0)
    assert (len(data.train_dataset), len(data.test_dataset)) == (1397, 400)
    assert data.test_dataset.labels.bincount().tolist() == [40] * data.num_classes
    digits = sklearn_datasets.load_digits()
    scans = torch.from_numpy(digits.images).float() / 16
    expected = F.interpolate(scans[:, None], size=(32, 32), mode="bilinear")
    images = [
        dataset.images.source(dataset.indices)[:, 0].flatten(1)
        for dataset in (data.train_dataset, data.test_dataset)
    ]
    ordered = torch.cat(images).sum(dim=1).sort().values
    assert torch.equal(ordered, expected.flatten(1).sum(dim=1).sort().values)


def test_test_set_is_the_last_40_of_each_digit() -> None:
    digits = sklearn_datasets.load_digits()
    last = sorted(
        place
        for digit in range(10)
        for place in (digits.target == digit).nonzero()[0][-40:]
    )
    data = DigitsDataModule()
    images, labels = data.test_dataset.__getitems__(range(400))
    scans = torch.from_numpy(digits.images[last]).float()[:, None] / 16
    expected = F.interpolate(scans, size=(32, 32), mode="bilinear")
    assert torch.equal(images, expected.expand(-1, 3, -1, -1))
    assert labels.tolist() == digits.target[last].tolist()
    assert (images.min().item(), images.max().item()) == (0, 1)


def test_training_crops_but_never_flips() -> None:
    data = DigitsDataModule(num_labelled=10, val_fraction=0.0)
    clean = data.train_dataset.images.source(data.train_dataset.indices)
    padded = F.pad(clean, [2] * 4)
    images, _ = data.train_dataset.__getitems__(range(10))
    crops = padded.unfold(2, 32, 1).unfold(3, 32, 1).flatten(2, 3)
    same = (crops == images[:, :, None]).all(dim=-1).all(dim=-1).all(dim=1)
    assert same.any(dim=1).all()


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install lightly-adv\[demo\]"):
        DigitsDataModule().setup("fit")


def test_options_on_the_command_line() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageDataModule, "data")
    config = parser.parse_args(["--data=DigitsDataModule", "--data.num_labelled=20"])
    assert config.data.class_path.endswith("DigitsDataModule")
    options = config.data.init_args
    assert (options.num_labelled, options.batch_size) == (20, 128)


def test_classes_have_names() -> None:
    data = DigitsDataModule()
    assert data.classes == list("0123456789")
    assert data.num_classes == 10
