"""ImageNet scaled down to 32 x 32 pixels, from the files that it is published as."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightly_adv.data import batch_files
from lightly_adv.data.batch_files import BatchFile, InParts
from lightly_adv.data.datamodule import ImageDataModule
from lightly_adv.data.image_dataset import Images

_PARTS = {"train": r"train_data_batch_\d+", "val": r"val_data"}
_ENDING = r"(\.npz|\.pkl|\.pickle)?"


class ImageNet32DataModule(ImageDataModule):
    """The 1,281,167 training and 50,000 test images of ImageNet-32, 1,000 classes.

    Reads `train_data_batch_1` to `train_data_batch_10` and `val_data`, which is the
    test set; validation images are split off the training ones. Both formats are
    read, `.npz` and Python pickles, and neither can run code: of pickles nothing but
    plain arrays is accepted. The files lie in `root` or in folders right below it, such
    as `Imagenet32_train_npz`.

    Images stay bytes, 3.9 GB in all. A `.npz` that is not compressed is mapped, so
    that only what is looked at comes into memory, once for all processes. Pickles are
    read whole; to map them, write each once as `numpy.savez(path, data=data,
    labels=labels)`.

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
            another size or labels out of range, or if there are two of the same name.

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
        """1,000, or what was given."""
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
        source = InParts(tuple(batch.data for batch in batches), self.image_size)
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
    """Return the files of a part in the order of their numbers.

    Where a batch is there in both formats, the `.npz` is taken, which can be mapped.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; pass root= with another.")
    folders = [root, *sorted(each for each in root.iterdir() if each.is_dir())]
    pattern = re.compile(f"({_PARTS[part]}){_ENDING}")
    found: dict[str, Path] = {}
    for path in (each for folder in folders for each in sorted(folder.iterdir())):
        match = pattern.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        other = found.setdefault(match[1], path)
        if other.suffix == path.suffix and other != path:
            raise ValueError(
                f"{other} and {path} are the same batch; pass root= with the folder of "
                "the one to use."
            )
        found[match[1]] = path if path.suffix == ".npz" else other
    if not found:
        raise FileNotFoundError(
            f"{root} holds no {_PARTS[part].replace(chr(92) + 'd+', '1')}, nor do the "
            "folders in it; expected the files of ImageNet-32, pickles or .npz."
        )
    return [found[name] for name in sorted(found, key=lambda name: (len(name), name))]
