"""The published files of CIFAR-10-C and CIFAR-100-C."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightly_adv.evaluation.corruptions.corruption import PUBLISHED, SEVERITIES

Array = npt.NDArray[Any]

IMAGE = (32, 32, 3)
"""Shape of an image in the files."""


class CifarC:
    """A folder with `labels.npy` and one file for each corruption, such as `fog.npy`.

    A file holds the test images five times, once for each severity, as bytes of shape
    (5 * N, 32, 32, 3), with N = 10,000 in what is published. They stay on the disk, and
    are read as they are needed. Nothing is unpickled.

    - [0] CIFAR-10-C, 2019, https://zenodo.org/records/2535967
    - [1] CIFAR-100-C, 2019, https://zenodo.org/records/3555552

    Args:
        folder: Where the files are.

    Raises:
        FileNotFoundError: If there is no such folder, or no `labels.npy` in it.
        ValueError: If the labels are cut off, or are not those of one test set, five
            times.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {self.folder}; expected the unpacked CIFAR-10-C "
                "or CIFAR-100-C."
            )
        labels = self._open("labels")
        kind = f"{labels.dtype} of shape {labels.shape}"
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
            raise ValueError(
                f"{self.folder}/labels.npy holds {kind}; expected whole numbers of "
                "shape (50000,)."
            )
        if len(labels) % len(SEVERITIES) or not _repeats(labels):
            raise ValueError(
                f"{self.folder}/labels.npy holds {kind}, which is not the labels of "
                "one test set, five times; unpack the archive again."
            )
        self.labels = torch.from_numpy(labels[: len(labels) // 5].astype(np.int64))
        self._files: dict[str, Array] = {}

    def __len__(self) -> int:
        """Return the number of images at one severity."""
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """Corruptions whose files are there."""
        return tuple(n for n in PUBLISHED if (self.folder / f"{n}.npy").is_file())

    def check(self, names: Sequence[str]) -> None:
        """Check that no files of these corruptions are missing or damaged.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is cut off, or holds something else.
        """
        for name in names:
            self._images(name)

    def images(self, name: str, severity: int, positions: Sequence[int]) -> Tensor:
        """Return corrupted images of shape (B, 3, 32, 32), float32 in [0, 1].

        Args:
            name: Which corruption.
            severity: From 1 to 5.
            positions: Indices in the test set, from 0.

        Raises:
            FileNotFoundError: If the file is missing.
            ValueError: If the file is damaged.
        """
        first = (severity - 1) * len(self)
        found = self._images(name)[[first + index for index in positions]]
        return torch.from_numpy(found).permute(0, 3, 1, 2).float() / 255

    def check_labels(self, labels: Tensor, positions: Sequence[int]) -> None:
        """Check that labels are those of the test set at these indices.

        Raises:
            ValueError: If there are more images, or if a label differs.
        """
        if max(positions) >= len(self):
            raise ValueError(
                f"the loader gives more than {len(self):,} images, but {self.folder} "
                "has no more of each kind; give the test set that it was made from."
            )
        expected = self.labels[list(positions)]
        wrong = (labels.cpu() != expected).nonzero().flatten().tolist()
        if wrong:
            at = wrong[0]
            raise ValueError(
                f"image {positions[at]} of the loader has label "
                f"{int(labels[at])}, but label {int(expected[at])} in "
                f"{self.folder}; give the test set in its own order, with "
                "shuffle=False."
            )

    def _images(self, name: str) -> Array:
        if name not in self._files:
            found = self._open(name)
            expected = (len(SEVERITIES) * len(self), *IMAGE)
            if found.shape != expected or found.dtype != np.uint8:
                raise ValueError(
                    f"{self.folder}/{name}.npy holds {found.dtype} of shape "
                    f"{found.shape}; expected uint8 of shape {expected}, five times as "
                    "many as labels of the test set."
                )
            self._files[name] = found
        return self._files[name]

    def _open(self, name: str) -> Array:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            there = ", ".join(self.names) or "none"
            raise FileNotFoundError(
                f"{path} is missing; files of corruptions that are there: {there}."
            )
        try:
            found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(
                f"{path} is no NumPy file, or only a part of one ({error}); download "
                "it again."
            ) from error
        return found


def _repeats(labels: Array) -> bool:
    rows = labels.reshape(len(SEVERITIES), -1)
    return bool((rows == rows[0]).all())
