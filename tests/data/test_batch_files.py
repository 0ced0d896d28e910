from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightly_adv.data import batch_files
from lightly_adv.data.batch_files import ConcatenatedArrays

DATA = np.arange(48, dtype=np.uint8).reshape(4, 12)
LABELS = [3, 1, 4, 1]


def write(path: Path, **content: Any) -> Path:
    np.savez(path, **content)
    return path


def test_images_and_labels_are_read(tmp_path: Path) -> None:
    mean = DATA.mean(axis=0)
    path = write(tmp_path / "batch.npz", data=DATA, labels=LABELS, mean=mean)
    found = batch_files.read_batch(path)
    np.testing.assert_array_equal(found.data, DATA)
    assert (found.labels.tolist(), found.labels.dtype) == (LABELS, np.dtype(np.int64))


def test_images_of_a_plain_npz_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path / "batch.npz", labels=LABELS, data=DATA)
    found = batch_files.read_batch(path)
    assert isinstance(found.data.base, np.memmap)
    np.testing.assert_array_equal(found.data, DATA)
    assert not found.data.flags.writeable


def test_images_of_a_compressed_npz_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "batch.npz", data=DATA, labels=LABELS)
    found = batch_files.read_batch(tmp_path / "batch.npz")
    assert not isinstance(found.data.base, np.memmap)
    np.testing.assert_array_equal(found.data, DATA)


def test_images_with_axes_of_their_own_are_laid_flat(tmp_path: Path) -> None:
    path = write(tmp_path / "batch.npz", data=DATA.reshape(4, 3, 2, 2), labels=LABELS)
    np.testing.assert_array_equal(batch_files.read_batch(path).data, DATA)


class Malicious:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("was-run"),)


@pytest.mark.parametrize("pickled", [False, True])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([Malicious()] * 4, dtype=object)
    path = write(tmp_path / "batch.npz", data=DATA, labels=objects)
    if pickled:
        path.write_bytes(pickle.dumps({"data": DATA, "labels": [Malicious()]}))
    with pytest.raises(ValueError, match=r"can run code"):
        batch_files.read_batch(path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": DATA}, r"has no 'labels', but \['data'\]"),
        ({"labels": LABELS}, r"has no 'data', but \['labels'\]"),
        ({"data": DATA / 255, "labels": LABELS}, r"are float64 of shape \(4, 12\)"),
        ({"data": DATA, "labels": LABELS[:3]}, r"labels of shape \(3,\); expected"),
        ({"data": DATA[0], "labels": LABELS}, r"uint8 of shape \(12,\)"),
        ({"data": DATA, "labels": [0.5] * 4}, r"are float64; expected integers"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "batch.npz", **content)
    with pytest.raises(ValueError, match=message):
        batch_files.read_batch(path)


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"cannot be read as a \.npz of plain arrays"):
        batch_files.read_batch(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError):
        batch_files.read_batch(tmp_path / "nix.npz")


def test_parts_are_one_set() -> None:
    parts = tuple(np.ascontiguousarray(part) for part in np.split(DATA, [1, 3]))
    source = ConcatenatedArrays(parts, image_size=2)
    rows = torch.tensor([3, 0, 2, 1, 3])
    expected = torch.from_numpy(DATA)[rows].view(-1, 3, 2, 2)
    assert torch.equal(source(rows), expected)
    assert source(torch.tensor([], dtype=torch.long)).shape == (0, 3, 2, 2)
