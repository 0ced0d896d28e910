"""ImageNet scaled down to 32 x 32 pixels, read from the published files."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightly_adv.data import batch_files
from lightly_adv.data.batch_files import BatchFile, ConcatenatedArrays
from lightly_adv.data.datamodule import ImageDataModule
from lightly_adv.data.image_dataset import Images

_PARTS = {"train": r"train_data_batch_\d+\.npz", "val": r"val_data\.npz"}


class ImageNet32DataModule(ImageDataModule):
    """The 1,281,167 training and 50,000 test images of ImageNet-32, 1,000 classes.

    Reads the npz edition: `train_data_batch_1.npz` to `train_data_batch_10.npz` and
    `val_data.npz`, which is the test set; validation images are split off the training
    ones. The files are in `root` or in its subfolders, such as `Imagenet32_train_npz`.
    The edition of Python pickles has to be converted, see `docs/finetuning.md`.

    Images stay bytes, 3.9 GB in all. Files that are not compressed are mapped, so that
    only what is used is read, once for all processes.

    ImageNet-16 and ImageNet-64 have the same files with other sizes. Training images
    are cropped out of a padding of an eighth of their size and flipped horizontally.

    - [0] A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets,
      2017, https://arxiv.org/abs/1707.08819

    Args:
        root: The folder with the files.
        image_size: Height and width of the images.
        num_classes: Number of classes, if it is a part of the set.
        first_label: Number of the first class; 1 in the files as published.
        **options: Those of `ImageDataModule`, such as `batch_size` and `fraction`.

    Raises:
        FileNotFoundError: In `setup`, if there are no such files.
        ValueError: In `setup`, if a file cannot be read safely, holds images of
            another size or labels out of range, or if two have the same name.

    Examples:
        >>> data = ImageNet32DataModule("imagenet32", fraction=0.1)
        >>> data.num_classes, data.padding
        (1000, 4)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        image_size: int = 32,
        num_classes: int = 1000,
        first_label: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if image_size < 1 or num_classes < 1:
            raise ValueError(
                f"image_size={image_size} and num_classes={num_classes}; expected "
                "positive numbers, 32 and 1000 for ImageNet-32."
            )
        self.root = Path(root)
        self.image_size = image_size
        self.first_label = first_label
        self.padding = image_size // 8
        self._num_classes = num_classes

    @property
    def num_classes(self) -> int:
        """Number of classes, by default 1,000."""
        return self._num_classes

    def load_train(self) -> Images:
        """Return the images of all training batches."""
        return self._load("train")

    def load_test(self) -> Images:
        """Return the images of `val_data`."""
        return self._load("val")

    def _load(self, part: str) -> Images:
        batches = []
        for path in _files(self.root, part):
            batch = batch_files.read_batch(path)
            self._check(batch, path)
            batches.append(batch)
        labels = np.concatenate([batch.labels for batch in batches])
        arrays = tuple(batch.data for batch in batches)
        source = ConcatenatedArrays(arrays, self.image_size)
        return Images(source, torch.from_numpy(labels - self.first_label))

    def _check(self, batch: BatchFile, path: Path) -> None:
        width = batch.data.shape[1]
        if width != 3 * self.image_size**2:
            side = math.isqrt(width // 3)
            remedy = (
                f"pass image_size={side}"
                if 3 * side**2 == width
                else "expected squares of red, green and blue"
            )
            raise ValueError(
                f"the images in {path} have {width} numbers each, not 3 x "
                f"{self.image_size} x {self.image_size}; {remedy}."
            )
        first, last = self.first_label, self.first_label + self.num_classes - 1
        low, high = int(batch.labels.min()), int(batch.labels.max())
        if low < first or high > last:
            raise ValueError(
                f"the labels in {path} go from {low} to {high}, expected {first} to "
                f"{last}; pass first_label= with the number of the first class and "
                "num_classes= with that of all."
            )


def _files(root: Path, part: str) -> list[Path]:
    """Return the files of a part, in numerical order."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; pass root= with another.")
    folders = [root, *sorted(entry for entry in root.iterdir() if entry.is_dir())]
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    files: dict[str, Path] = {}
    for path in (path for path in paths if re.fullmatch(_PARTS[part], path.name)):
        other = files.setdefault(path.name, path)
        if other != path:
            raise ValueError(
                f"{other} and {path} are the same batch; pass root= with the folder of "
                "the one to use."
            )
    if not files:
        example = _PARTS[part].replace(r"\d+", "1").replace("\\", "")
        raise FileNotFoundError(
            f"{root} holds no {example}, nor do the folders in it. Pickles are not "
            "opened, since they can run code: docs/finetuning.md shows how to convert "
            "them."
        )
    return [files[name] for name in sorted(files, key=lambda name: (len(name), name))]
