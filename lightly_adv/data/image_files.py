"""Images in a folder of any layout, without classes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightly_adv.data import decode
from lightly_adv.data.training_loader import Draw


class ImageFiles(Dataset[Tensor]):
    """All images below a folder, read batch by batch when they are asked for.

    A file that cannot be read is named in a warning, and the next one that can stands
    in for it. Images are scaled and cropped to squares, see `decode.square`, without
    any random augmentation.

    Args:
        root: The folder.
        image_size: Height and width of the images that come out.

    Raises:
        FileNotFoundError: If there is no such folder, or if it holds no images.

    Examples:
        >>> import tempfile
        >>> from torchvision.utils import save_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_image(torch.rand(3, 9, 9), f"{folder}/one.png")
        ...     ImageFiles(folder, image_size=4).__getitems__([0]).shape
        torch.Size([1, 3, 4, 4])
    """

    def __init__(self, root: str | os.PathLike[str], image_size: int) -> None:
        self.root = Path(root)
        self.image_size = image_size
        self.paths = _images_below(self.root)
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, index: int | Draw) -> Tensor:
        """Return one image (3, H, W)."""
        return self.__getitems__([index])[0]

    def __getitems__(self, batch: Sequence[int | Draw]) -> Tensor:
        """Return images (B, 3, H, W), float32 in [0, 1].

        Raises:
            ValueError: If no file can be read.
        """
        numbers = [each.image if isinstance(each, Draw) else each for each in batch]
        return torch.stack([self._readable(number) for number in numbers])

    def _readable(self, number: int) -> Tensor:
        for shift in range(len(self)):
            index = (number + shift) % len(self)
            if index in self._unreadable:
                continue
            try:
                image = decode.square(self.paths[index], self.image_size)
            except ValueError as error:
                self._unreadable.add(index)
                warnings.warn(f"skipped: {error}", stacklevel=2)
            else:
                return image / 255 if image.dtype == torch.uint8 else image
        raise ValueError(
            f"none of the {len(self)} images below {self.root} can be read; expected "
            "at least one."
        )


def _images_below(root: Path) -> list[str]:
    """Return the files that end as images do, sorted, those of hidden folders not."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; expected one with images.")
    found: list[str] = []
    for folder, inside, names in os.walk(root, followlinks=True):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        found += (
            os.path.join(folder, name)
            for name in sorted(names)
            if name.lower().endswith(IMG_EXTENSIONS) and not name.startswith(".")
        )
    if not found:
        raise FileNotFoundError(
            f"{root} holds no images, at any depth; expected files that end in "
            f"{', '.join(IMG_EXTENSIONS)}."
        )
    return found
