"""Read `.npz` files with a batch of images each, as in ImageNet-32."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOCAL_HEADER = struct.Struct("<26xHH")
"""Lengths of the name and of the extra field, at the end of a zip file header."""


class BatchFile(NamedTuple):
    """Images (N, 3 * size * size), uint8, and labels (N,) as numbered in the file."""

    data: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_batch(path: Path) -> BatchFile:
    """Read one `.npz` file, without running code.

    Images that are not compressed (`numpy.savez`) are mapped: they take no memory until
    they are used, and processes share them.

    Args:
        path: The file, with the keys "data" and "labels".

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read safely, or holds something else.
    """
    content = _read_npz(path)
    for key in ("data", "labels"):
        if key not in content:
            raise ValueError(
                f"{path} has no {key!r}, but {sorted(content)}; expected the keys "
                "'data' and 'labels'."
            )
    data, labels = np.asanyarray(content["data"]), np.asarray(content["labels"])
    if data.dtype != np.uint8 or data.ndim < 2 or labels.shape != (len(data),):
        raise ValueError(
            f"the data in {path} are {data.dtype} of shape {data.shape} with labels of "
            f"shape {labels.shape}; expected uint8 of shape (N, 3 * size * size) and "
            "N labels."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"the labels in {path} are {labels.dtype}; expected integers.")
    return BatchFile(data.reshape(len(data), -1), labels.astype(np.int64))


@dataclass(frozen=True)
class ConcatenatedArrays:
    """Images in several arrays of shape (N, 3 * size * size), indexed as one.

    The arrays are not copied, so that mapped files stay mapped.
    """

    parts: tuple[NDArray[np.uint8], ...]
    image_size: int

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the images with these indices, (B, 3, image_size, image_size)."""
        ends = np.cumsum([len(part) for part in self.parts])
        rows = indices.numpy()
        which = np.searchsorted(ends, rows, side="right")
        found = np.empty((len(rows), 3 * self.image_size**2), dtype=np.uint8)
        for number in np.unique(which):
            part, chosen = self.parts[number], which == number
            found[chosen] = part[rows[chosen] - (ends[number] - len(part))]
        size = self.image_size
        return torch.from_numpy(found).view(-1, 3, size, size)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in ("data", "labels") if name in archive.files]
            mapped = {name: _map(path, name) for name in names}
            return {
                name: archive[name] if mapped[name] is None else mapped[name]
                for name in names
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{path} cannot be read as a .npz of plain arrays ({error}). Files that "
            "hold other objects can run code when they are opened, and are not read."
        ) from error


def _map(path: Path, name: str) -> NDArray[Any] | None:
    """Map an array of a `.npz`; None if it is compressed."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(info) as file:
            is_first = np.lib.format.read_magic(file) == (1, 0)
            shape, fortran, dtype = (
                np.lib.format.read_array_header_1_0(file)
                if is_first
                else np.lib.format.read_array_header_2_0(file)
            )
            header = file.tell()
    if dtype.hasobject or not np.prod(shape):
        return None
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(_LOCAL_HEADER.size)
    start = info.header_offset + len(local) + sum(_LOCAL_HEADER.unpack(local)) + header
    order: Literal["F", "C"] = "F" if fortran else "C"
    return np.memmap(path, dtype, mode="r", offset=start, shape=shape, order=order)
