"""Images in one folder per class, the layout of torchvision's `ImageFolder`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightly_adv.data import decode
from lightly_adv.data.datamodule import ImageDataModule
from lightly_adv.data.image_dataset import Images, InMemory, Source, to_pixels
from lightly_adv.functional import validation

_SHOWN = 5

Decode: TypeAlias = Literal["auto", "once", "batch"]
"""When images are decoded."""


class ImageFolderDataModule(ImageDataModule):
    """Images under `root/train/<class>/` and `root/test/<class>/`.

    With `root/val/` beside both, that is the validation set, and `val_fraction` is
    not used. With `root/val/` but no `root/test/`, as in ImageNet, it is the test
    set. Images of another size are scaled and cropped to squares of `image_size`.

    Small images take longer to decode than to train on. Decoded once they are kept in
    memory as they come out, uint8, and processes that a loader forks share them; the
    numbers are those of decoding them each time. A set that is decoded batch by batch
    gains from `num_workers`.

    Files of 16 bits and of floats in [0, 1] keep their precision. The orientation in
    EXIF data is followed, transparency is left out; see `decode.square`.

    Training images are cropped out of a padding of an eighth of their size (4 for
    32 pixels) and flipped horizontally.

    Args:
        root: The folder that holds `train` and `test`.
        image_size: Height and width of the images that come out.
        decode: "once" keeps the decoded images in memory, "batch" decodes those of a
            batch when it is asked for, "auto" decodes once what fits into
            `cache_bytes`.
        cache_bytes: Largest size of a decoded set that is kept in memory; each of
            train, val and test counts for itself.
        **options: Those of `ImageDataModule`, such as `batch_size`.

    Raises:
        FileNotFoundError: If a folder is missing, or if it holds no images.
        ValueError: If there are fewer than two classes, if the test set has classes
            that the training set lacks, if an image cannot be read or does not tell
            the range of its numbers, or if a set to be decoded once is larger than
            `cache_bytes`.

    Examples:
        >>> data = ImageFolderDataModule(root="images", image_size=64)
        >>> data.padding
        8
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        image_size: int = 32,
        decode: Decode = "auto",
        cache_bytes: int = 2**30,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.image_size = image_size
        validation.check_choice("decode", decode, get_args(Decode))
        self.decode = decode
        self.cache_bytes = cache_bytes
        self.padding = image_size // 8

    @property
    def classes(self) -> list[str]:
        """Names of the folders in `root/train`, sorted; labels are their indices."""
        classes = _class_folders(self.root / "train")
        if len(classes) < 2:
            raise ValueError(
                f"{self.root / 'train'} holds the single class {classes[0]!r}; "
                "expected one folder for each of at least two classes."
            )
        return classes

    @property
    def num_classes(self) -> int:
        """Number of folders in `root/train`."""
        return len(self.classes)

    def load_train(self) -> Images:
        """Return the images in `root/train`."""
        return self._load("train")

    def load_test(self) -> Images:
        """Return the images in `root/test`, or else in `root/val`."""
        has_test = (self.root / "test").is_dir() or not (self.root / "val").is_dir()
        return self._load("test" if has_test else "val")

    def load_val(self) -> Images | None:
        """Return the images in `root/val`, if `root/test` is there too."""
        both = all((self.root / part).is_dir() for part in ("val", "test"))
        return self._load("val") if both else None

    def _load(self, part: str) -> Images:
        folder, classes = self.root / part, self.classes
        found = _class_folders(folder)
        strangers = sorted(set(found) - set(classes))
        if strangers:
            raise ValueError(
                f"{folder} has classes that {self.root / 'train'} lacks: "
                f"{_some(strangers)}. Remove them, or add training images."
            )
        paths = {name: _images(folder / name) for name in found}
        labels = [classes.index(name) for name in found for _ in paths[name]]
        source = self._source([path for name in found for path in paths[name]])
        return Images(source, torch.tensor(labels))

    def _source(self, paths: Sequence[Path]) -> Source:
        on_disk = OnDisk(tuple(map(str, paths)), self.image_size)
        if self.decode == "batch" or not self._fits(len(paths), channel_bytes=1):
            return on_disk
        images = on_disk(torch.arange(len(paths)))
        # Known only now: more than 8 bits become floats.
        fits = self._fits(len(paths), channel_bytes=images.element_size())
        return InMemory(images) if fits else on_disk

    def _fits(self, count: int, *, channel_bytes: int) -> bool:
        """Return whether so many images fit into the cache; raise if they have to."""
        needed = count * 3 * self.image_size**2 * channel_bytes
        if self.decode == "once" and needed > self.cache_bytes:
            raise ValueError(
                f"decode='once' would keep {count:,} images of {self.image_size} x "
                f"{self.image_size} in memory, {needed / 2**20:,.1f} MiB; cache_bytes "
                f"allows {self.cache_bytes / 2**20:,.1f} MiB. Raise cache_bytes, use a "
                "smaller image_size, or decode='batch'."
            )
        return needed <= self.cache_bytes


@dataclass(frozen=True)
class OnDisk:
    """Images that are decoded on demand, as squares of one size."""

    paths: tuple[str, ...]
    image_size: int

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the images with these indices, (B, 3, image_size, image_size).

        They are uint8, or float32 in [0, 1] where one of them has more than 8 bits.
        """
        size = self.image_size
        images = torch.empty(len(indices), 3, size, size, dtype=torch.uint8)
        for position, index in enumerate(indices.tolist()):
            image = decode.square(self.paths[index], size)
            if image.dtype != images.dtype:  # 8 bits of some, more of others
                images, image = to_pixels(images), to_pixels(image)
            images[position] = image
        return images


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}; expected images in "
            f"{folder}/<class>/, with one folder for each class."
        )
    classes = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    classes = [name for name in classes if not name.startswith(".")]
    if not classes:
        raise FileNotFoundError(
            f"{folder} holds no folders; expected images in {folder}/<class>/, with "
            "one folder for each class."
        )
    return sorted(classes)


def _images(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    images = sorted(p for p in paths if p.suffix.lower() in IMG_EXTENSIONS)
    if not images:
        raise FileNotFoundError(
            f"the class folder {folder} holds no images; expected files that end in "
            f"{_some(IMG_EXTENSIONS)}. Fill it or remove it."
        )
    return images


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown + (", ..." if len(names) > _SHOWN else "")
