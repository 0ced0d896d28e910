"""CIFAR-10, CIFAR-100 and STL-10, read through torchvision."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torchvision import datasets

from lightly_adv.data.datamodule import ImageDataModule
from lightly_adv.data.image_dataset import Images, InMemory
from lightly_adv.functional import validation

SetName: TypeAlias = Literal["CIFAR10", "CIFAR100", "STL10"]
"""The sets of torchvision that are supported."""

Part: TypeAlias = Literal["train", "test"]


_CLASSES: Mapping[SetName, int] = {"CIFAR10": 10, "CIFAR100": 100, "STL10": 10}
_SIZES: Mapping[SetName, int] = {"CIFAR10": 32, "CIFAR100": 32, "STL10": 96}


class TorchvisionDataModule(ImageDataModule):
    """One of torchvision's image sets, held in memory.

    Training images are cropped out of a padding of an eighth of their size (4 for
    32 pixels) and flipped horizontally. Of STL-10 the labelled images are used.

    CIFAR comes as Python pickles, which can run code. torchvision opens them only if
    their MD5 sums are those of the published files, so that others are never read.

    Args:
        name: "CIFAR10", "CIFAR100" or "STL10".
        root: The folder that torchvision keeps its sets in.
        download: Fetch the set in `prepare_data` if it is not there. Nothing is
            downloaded otherwise.
        **options: Those of `ImageDataModule`, such as `batch_size`.

    Raises:
        ValueError: If the name is not one of these.
        FileNotFoundError: In `setup`, if the set is not in `root`.

    Examples:
        >>> data = TorchvisionDataModule("CIFAR100", root="datasets", num_labelled=1000)
        >>> data.num_classes, data.image_size
        (100, 32)
    """

    def __init__(
        self,
        name: SetName,
        *,
        root: str | os.PathLike[str],
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        validation.check_choice(
            "name",
            name,
            get_args(SetName),
            remedy=", or ImageFolderDataModule for images of your own",
        )
        self.name: SetName = name
        self.root = root
        self.download = download
        self.image_size = _SIZES[name]
        self.padding = self.image_size // 8

    @property
    def num_classes(self) -> int:
        """10, or 100 for CIFAR-100."""
        return _CLASSES[self.name]

    def prepare_data(self) -> None:
        """Download the set, if that was asked for. The Trainer calls this once."""
        if self.download:
            for part in get_args(Part):
                self._open(part, download=True)

    def load_train(self) -> Images:
        """Return the training images."""
        return self._load("train")

    def load_test(self) -> Images:
        """Return the test images."""
        return self._load("test")

    def _load(self, part: Part) -> Images:
        try:
            dataset = self._open(part, download=False)
        except RuntimeError as error:
            remedy = (
                "call prepare_data() first"
                if self.download
                else "pass download=True to fetch it, or name the folder that holds it"
            )
            raise FileNotFoundError(
                f"{self.name} was not found in root={os.fspath(self.root)!r}, or is "
                f"damaged there; {remedy}."
            ) from error
        labels = dataset.labels if self.name == "STL10" else dataset.targets
        return Images(
            InMemory(_channels_first(dataset.data)), torch.as_tensor(labels).long()
        )

    def _open(self, part: Part, *, download: bool) -> Any:
        is_stl = self.name == "STL10"
        chosen = {"split": part} if is_stl else {"train": part == "train"}
        dataset = getattr(datasets, self.name)
        return dataset(os.fspath(self.root), download=download, **chosen)


def _channels_first(data: Any) -> Tensor:
    """Return (N, 3, H, W) from an array that may have its channels last."""
    images = torch.as_tensor(data)
    if images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    return images.contiguous()
