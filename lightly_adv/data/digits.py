"""Handwritten digits that come with scikit-learn: nothing to download."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightly_adv.data.datamodule import ImageDataModule
from lightly_adv.data.image_dataset import Images, InMemory

TEST_PER_CLASS = 40
"""The last scans of each digit are the test set, 400 of 1,797."""


class DigitsDataModule(ImageDataModule):
    """The 1,797 digits of scikit-learn, scaled from 8 x 8 to 32 x 32 RGB.

    Small enough for a demonstration within a minute on a CPU. The test set is fixed:
    the last 40 scans of each digit. Training images are cropped out of 2 pixels of
    padding and never flipped.

    Args:
        **options: Those of `ImageDataModule`, such as `batch_size`.

    Raises:
        ImportError: In `setup`, if scikit-learn is not installed.

    Examples:
        >>> data = DigitsDataModule(batch_size=64)
        >>> images, labels = next(iter(data.train_dataloader()))
        >>> images.shape, images.dtype, labels.shape
        (torch.Size([64, 3, 32, 32]), torch.float32, torch.Size([64]))
    """

    padding = 2
    flip_probability = 0.0

    @property
    def classes(self) -> list[str]:
        """The ten digits."""
        return [str(digit) for digit in range(10)]

    @property
    def num_classes(self) -> int:
        """Ten."""
        return len(self.classes)

    def load_train(self) -> Images:
        """Return all scans but the last 40 of each digit."""
        return _load(train=True)

    def load_test(self) -> Images:
        """Return the last 40 scans of each digit."""
        return _load(train=False)


def _load(*, train: bool) -> Images:
    scans, labels = _scans()
    one_hot = F.one_hot(labels)
    # How many scans of the same digit are still to come, this one included.
    to_come = one_hot.flip(0).cumsum(dim=0).flip(0)[torch.arange(len(labels)), labels]
    chosen = (to_come > TEST_PER_CLASS) == train
    images = F.interpolate(scans[chosen, None], size=(32, 32), mode="bilinear")
    return Images(InMemory(images.expand(-1, 3, -1, -1)), labels[chosen])


def _scans() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "DigitsDataModule needs scikit-learn: pip install lightly-adv[demo]"
        ) from error
    digits = load_digits()
    scans = torch.from_numpy(digits.images).float() / 16
    return scans, torch.from_numpy(digits.target).long()
