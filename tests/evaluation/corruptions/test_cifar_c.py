"""The published files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightly_adv.evaluation.corruptions import CifarC

COUNT = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as that of CIFAR-10-C, with six images and two corruptions."""
    numbers = np.random.default_rng(0)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(COUNT, dtype=np.uint8), 5))
    for name in ("fog", "frost"):
        images = numbers.integers(0, 256, (5 * COUNT, 32, 32, 3), dtype=np.uint8)
        np.save(tmp_path / f"{name}.npy", images)
    return tmp_path


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_images_of_a_severity(folder: Path, severity: int) -> None:
    files = CifarC(folder)
    assert len(files) == COUNT
    assert files.names == ("frost", "fog")
    assert files.labels.tolist() == list(range(COUNT))
    every = np.load(folder / "fog.npy")[(severity - 1) * COUNT : severity * COUNT]
    found = files.images("fog", severity, [4, 0])
    assert found.shape == (2, 3, 32, 32)
    expected = every[[4, 0]].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-7)


def test_files_stay_on_the_disk(folder: Path) -> None:
    files = CifarC(folder)
    files.check(["fog"])
    assert isinstance(files._files["fog"], np.memmap)


def test_labels_of_other_images(folder: Path) -> None:
    files = CifarC(folder)
    files.check_labels(torch.tensor([2, 3]), [2, 3])
    with pytest.raises(ValueError, match="image 3 of the loader has label 9, but"):
        files.check_labels(torch.tensor([2, 9]), [2, 3])
    with pytest.raises(ValueError, match="gives more than 6 images"):
        files.check_labels(torch.tensor([5, 0]), [5, 6])


def test_missing_files(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"snow\.npy is missing.*frost, fog"):
        CifarC(folder).check(["fog", "snow"])
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        CifarC(folder / "elsewhere")
    (folder / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.npy is missing"):
        CifarC(folder)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_most_images(path: Path) -> None:
    np.save(path, np.load(path)[:COUNT])


def of_floats(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float32))


def channels_first(path: Path) -> None:
    np.save(path, np.load(path).transpose(0, 3, 1, 2))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"run": "me"}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_off, "only a part of one"),
        (emptied, "only a part of one"),
        (pickled, "is no NumPy file"),
        (
            without_most_images,
            r"shape \(6, 32, 32, 3\); expected uint8 of shape \(30",
        ),
        (of_floats, "holds float32"),
        (channels_first, r"shape \(30, 3, 32, 32\)"),
    ],
)
def test_damaged_images(folder: Path, damage: object, words: str) -> None:
    assert callable(damage)
    damage(folder / "fog.npy")
    files = CifarC(folder)
    files.check(["frost"])
    with pytest.raises(ValueError, match=words):
        files.check(["fog"])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(30), "one test set, five times"),
        (np.zeros(7, int), "one test set, five times"),
        (np.zeros((5, 6), int), r"expected whole numbers of shape \(50000,\)"),
        (np.zeros(30), "holds float64"),
        (np.zeros(0, int), r"shape \(0,\)"),
    ],
)
def test_damaged_labels(folder: Path, labels: np.ndarray, words: str) -> None:
    np.save(folder / "labels.npy", labels)
    with pytest.raises(ValueError, match=words):
        CifarC(folder)
