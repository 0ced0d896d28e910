"""Image files of all kinds as squares of one size, or an error that names the file."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import functional as pil

Channels = list[NDArray[np.float32]]

HIGHEST = 65535
"""Largest number of 16 bits."""


class Opened(NamedTuple):
    """An image, and the facts about its file that decoding loses."""

    image: Image.Image
    format: str | None
    stored: str
    """How its numbers are stored, as Pillow describes it."""


def square(path: str, size: int) -> Tensor:
    """Return an image, scaled and cropped to a square.

    It is oriented as viewers show it, by its EXIF data. Grey images get three equal
    channels, palettes and CMYK become RGB, and transparency is dropped, as torchvision
    does, with a warning. 16 bits are divided by 65535; floating-point numbers have to
    be in [0, 1].

    Args:
        path: The file.
        size: Height and width.

    Returns:
        (3, size, size): uint8, or float32 in [0, 1] where the file has more than 8
        bits for each channel.

    Raises:
        ValueError: If it cannot be read, or if the range of its numbers is unknown.
    """
    opened = _open(path)
    channels = _deep(opened, path)
    if channels is None:
        tensor: Tensor = pil.pil_to_tensor(_cropped(_to_rgb(opened.image, path), size))
        return tensor
    bands = [_cropped(Image.fromarray(each), size) for each in channels]
    found = torch.stack([torch.from_numpy(np.array(each)) for each in bands])
    return found.clamp(0, 1).expand(3, -1, -1)


def _open(path: str) -> Opened:
    try:
        with Image.open(path) as image:
            stored = str([tile[3] for tile in image.tile])
            upright = ImageOps.exif_transpose(image)
            return Opened(upright, image.format, stored)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise all kinds of errors of damaged files
        raise ValueError(
            f"{path} cannot be read as an image ({error}); remove or replace it."
        ) from error


def _to_rgb(image: Image.Image, path: str) -> Image.Image:
    try:
        if "transparency" in image.info:  # a palette may have several such colours
            image = image.convert("RGBA")
        found = image.convert("RGB")
    except ValueError as error:
        raise ValueError(
            f"{path} has the mode {image.mode}, which cannot be read as RGB ({error}); "
            "save it as an RGB PNG."
        ) from error
    if "A" in image.getbands() and image.getchannel("A").getextrema()[0] != 255:
        warnings.warn(
            f"{path} is transparent in places, perhaps others, too: transparency is "
            "left out, so that hidden colours show. Save them as RGB to choose what "
            "lies behind.",
            stacklevel=2,
        )
    return found


def _deep(opened: Opened, path: str) -> Channels | None:
    """Return channels in [0, 1] if there are more than 8 bits, which RGB would cut."""
    mode, stored = opened.image.mode, opened.stored
    if mode == "F":
        return [_in_range(np.asarray(opened.image, dtype=np.float32), path)]
    if mode.startswith("I"):
        if mode == "I" and opened.format not in ("PNG", "PPM"):
            raise ValueError(
                f"{path} has integers of 32 bits, and does not tell which of them is "
                "white; save it with 8 or 16 bits."
            )
        return [np.asarray(opened.image).astype(np.float32) / np.float32(HIGHEST)]
    if "16" in stored or str(HIGHEST) in stored:
        return _channels_of_16_bits(opened, path)
    return None


def _in_range(pixels: NDArray[np.float32], path: str) -> NDArray[np.float32]:
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{path} has floating-point pixels from {low:g} to {high:g}; expected "
            "numbers in [0, 1]. Scale them, or save it with 8 or 16 bits."
        )
    return pixels


def _channels_of_16_bits(opened: Opened, path: str) -> Channels:
    """Read colours of 16 bits, of which Pillow would keep 8."""
    if opened.format != "PNG":
        raise ValueError(
            f"{path} has colours of 16 bits, which are read from PNG files only; save "
            "it as a PNG, or with 8 bits."
        )
    try:
        with warnings.catch_warnings():
            # Newer versions announce to drop it; then such files are refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            from torchvision import io

            levels = io.decode_image(
                io.read_file(path),
                mode=io.ImageReadMode.UNCHANGED,
                apply_exif_orientation=True,
            )
    except (RuntimeError, ImportError, AttributeError) as error:
        raise ValueError(
            f"{path} has colours of 16 bits, which this torchvision cannot read "
            f"({error}); save it with 8 bits."
        ) from error
    count = 1 if len(levels) < 3 else 3  # what comes behind is transparency
    return [each / np.float32(HIGHEST) for each in levels[:count].numpy()]


def _cropped(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    found: Image.Image = pil.center_crop(pil.resize(image, size), size)
    return found
