"""A data set so small that a command takes a second."""

from __future__ import annotations

from typing import Any

import torch

from lightly_adv.data import ImageDataModule
from lightly_adv.data.image_dataset import Images, InMemory


class TinyDataModule(ImageDataModule):
    """Random images of 8 x 8, half of a class bright."""

    padding = 1
    num_images = 32

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"batch_size": 8, "val_fraction": 0.25, **options})

    @property
    def num_classes(self) -> int:
        return 2

    def load_train(self) -> Images:
        return self._load(0)

    def load_test(self) -> Images:
        return self._load(1)

    def _load(self, seed: int) -> Images:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(self.num_images) % 2
        noise = torch.rand(self.num_images, 3, 8, 8, generator=generator)
        return Images(InMemory((noise + labels[:, None, None, None]) / 2), labels)


class NoClasses(TinyDataModule):
    """One that does not tell its number of classes."""

    @property
    def num_classes(self) -> int:
        raise AttributeError("num_classes")


class ThreeClasses(TinyDataModule):
    """One that tells of a third class, of which there are no images."""

    @property
    def num_classes(self) -> int:
        return 3


class NoTestImages(TinyDataModule):
    """One whose test images are not there."""

    def load_test(self) -> Images:
        raise FileNotFoundError("there is no folder data/test; expected images.")


class EmptyTestSet(TinyDataModule):
    """One with a test set without images."""

    def load_test(self) -> Images:
        return Images(InMemory(torch.empty(0, 3, 8, 8)), torch.empty(0).long())


class SixBatches(TinyDataModule):
    """Six training batches in an epoch."""

    def __init__(self, num_workers: int = 0, flip_probability: float = 0.5) -> None:
        super().__init__(
            batch_size=4, num_workers=num_workers, flip_probability=flip_probability
        )
