"""Images to train on without labels, to vote, to choose by and to test on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from lightly_adv.data import ImageFolderDataModule
from lightly_adv.data.image_dataset import ImageDataset, Images
from lightly_adv.data.splits import interleave_classes
from robustified.settings import Settings


class Part(NamedTuple):
    """Images (N, 3, H, W) in [0, 1], and labels (N,)."""

    images: Tensor
    labels: Tensor


class Sets(NamedTuple):
    """The images of a benchmark; only `test` are test images."""

    unlabelled: ImageDataset
    bank: Part
    validation: Part
    test: Part

    def batches(self, size: int, seed: int) -> Iterator[Tensor]:
        """Yield batches of images to train on, without end."""
        generator = Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.unlabelled), generator=generator)
            for part in order.split(size):
                if len(part) == size:
                    yield self.unlabelled.__getitems__(part.tolist())[0]


def load(root: Path, settings: Settings) -> Sets:
    """Read the images; training images are cut into three parts by a fixed seed."""
    data = ImageFolderDataModule(root, image_size=settings.image_size)
    train, test = data.load_train(), data.load_test()
    # Of all classes in turn, shuffled within each.
    generator = Generator().manual_seed(0)
    mixed = torch.randperm(len(train.labels), generator=generator)
    order = mixed[interleave_classes(train.labels[mixed])]
    validation, rest = order[: settings.validation], order[settings.validation :]
    tested = interleave_classes(test.labels)[: settings.test]
    return Sets(
        ImageDataset(train, rest),
        _part(train, rest[: settings.bank]),
        _part(train, validation),
        _part(test, tested),
    )


def _part(images: Images, indices: Tensor) -> Part:
    return Part(*ImageDataset(images, indices).__getitems__(list(range(len(indices)))))
