from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lightly_adv.data import ImageFolderDataModule, decode

SIDE = 12
Pixels = NDArray[Any]


def _levels(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)


def _png(path: Path, levels: Pixels) -> None:
    """Write colours of 16 bits, which Pillow cannot."""
    height, width, channels = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    kind = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data))
            + name
            + data
            + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


def _tiff(path: Path, levels: Pixels) -> None:
    height, width, _ = levels.shape
    data, count = levels.astype("<u2").tobytes(), 10
    at = 8 + 2 + 12 * count + 4
    entries = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, at), (259, 3, 1, 1)),
        *((262, 3, 1, 2), (273, 4, 1, at + 6), (277, 3, 1, 3), (278, 3, 1, height)),
        *((279, 4, 1, len(data)), (284, 3, 1, 1)),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, count)
    head += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(head + struct.pack("<IHHH", 0, 16, 16, 16) + data)


def _read(path: Path, size: int = SIDE) -> Tensor:
    found = decode.square(str(path), size)
    assert found.shape == (3, size, size)
    return found


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_grey_of_16_bits(name: str, tmp_path: Path) -> None:
    levels, path = _levels(SIDE, SIDE), tmp_path / name
    if name == "a.pgm":
        head = f"P5\n{SIDE} {SIDE}\n65535\n".encode()
        path.write_bytes(head + levels.astype(">u2").tobytes())
    else:
        Image.fromarray(levels).save(path)
    expected = torch.from_numpy(levels / 65535).float()
    assert all(torch.equal(channel, expected) for channel in _read(path))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits(channels: int, tmp_path: Path) -> None:
    levels = _levels(SIDE, SIDE, channels)
    _png(tmp_path / "a.png", levels)
    expected = torch.from_numpy(levels / 65535).float().permute(2, 0, 1)
    found = _read(tmp_path / "a.png")
    assert torch.equal(found, expected[: 1 if channels == 2 else 3].expand(3, -1, -1))


def test_few_levels_of_16_bits_are_kept(tmp_path: Path) -> None:
    levels = _levels(SIDE, SIDE) % 200  # all of them would be 0 of 255
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert len(np.unique(_read(tmp_path / "a.png").numpy())) == len(np.unique(levels))


def test_floats_in_range(tmp_path: Path) -> None:
    pixels = (_levels(SIDE, SIDE) / 65535).astype(np.float32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert torch.equal(_read(tmp_path / "a.tif")[1], torch.from_numpy(pixels))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-1, 1, "from -1 to 1"), (0, 255, "from 0 to 255"), (0, float("nan"), "to nan")],
)
def test_floats_out_of_range(
    low: float, high: float, words: str, tmp_path: Path
) -> None:
    pixels = np.full((SIDE, SIDE), low, np.float32)
    pixels[0, 0] = high
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a\.tif .*{words}; .*\[0, 1\]"):
        _read(tmp_path / "a.tif")


def test_what_does_not_tell_its_range(tmp_path: Path) -> None:
    levels = _levels(SIDE, SIDE).astype(np.int32)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif has integers of 32 bits.*16 bits"):
        _read(tmp_path / "a.tif")
    _tiff(tmp_path / "b.tif", _levels(SIDE, SIDE, 3))
    with pytest.raises(ValueError, match=r"b\.tif has colours of 16 bits.*PNG"):
        _read(tmp_path / "b.tif")
    head = f"P6\n{SIDE} {SIDE}\n65535\n".encode()
    data = _levels(SIDE, SIDE, 3).astype(">u2").tobytes()
    (tmp_path / "c.ppm").write_bytes(head + data)
    with pytest.raises(ValueError, match=r"c\.ppm has colours of 16 bits"):
        _read(tmp_path / "c.ppm")


def test_16_bits_are_scaled_like_8(tmp_path: Path) -> None:
    smooth = np.outer(np.arange(30), np.arange(40)) * (255 / 29 / 39)
    eight = smooth.round().astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "16.png")
    small, deep = _read(tmp_path / "8.png", 10), _read(tmp_path / "16.png", 10)
    assert float((small / 255 - deep).abs().max()) <= 1 / 255


COLOUR = (10, 200, 90)


def _palette() -> Image.Image:
    found = Image.new("P", (SIDE, SIDE), 1)
    found.putpalette([0, 0, 0, *COLOUR])
    return found


@pytest.mark.parametrize(
    ("make", "ending", "options"),
    [
        (lambda: Image.new("RGB", (SIDE, SIDE), COLOUR), "png", {}),
        (lambda: Image.new("RGBA", (SIDE, SIDE), (*COLOUR, 255)), "png", {}),
        (_palette, "png", {}),
        (_palette, "png", {"transparency": 0}),
        (_palette, "gif", {}),
        (lambda: Image.new("CMYK", (SIDE, SIDE), (245, 55, 165, 0)), "tif", {}),
    ],
)
def test_colours(
    make: Callable[[], Image.Image],
    ending: str,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    make().save(tmp_path / f"a.{ending}", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _read(tmp_path / f"a.{ending}")
    assert found.dtype == torch.uint8
    assert found[:, 3, 4].tolist() == list(COLOUR)


def test_one_bit_and_grey(tmp_path: Path) -> None:
    for mode, white in (("1", 1), ("L", 255), ("LA", (255, 255))):
        image = Image.new(mode, (SIDE, SIDE), 0 if mode != "LA" else (0, 255))
        image.putpixel((2, 1), white)
        image.save(tmp_path / "a.png")
        found = _read(tmp_path / "a.png")
        assert found[:, 1, 2].tolist() == [255] * 3
        assert int(found.sum()) == 3 * 255


@pytest.mark.parametrize("kind", ["RGBA", "palette"])
def test_transparency_is_left_out_and_told(kind: str, tmp_path: Path) -> None:
    if kind == "RGBA":
        Image.new("RGBA", (SIDE, SIDE), (*COLOUR, 7)).save(tmp_path / "a.png")
    else:
        _palette().save(tmp_path / "a.png", transparency=1)
    with pytest.warns(UserWarning, match=r"a\.png is transparent .*left out"):
        found = _read(tmp_path / "a.png")
    assert found[:, 0, 0].tolist() == list(COLOUR)


def test_orientation_is_followed(tmp_path: Path) -> None:
    image = Image.new("RGB", (SIDE, SIDE))
    image.putpixel((0, 0), (255, 255, 255))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn, clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert int(_read(tmp_path / "a.png")[0, 0, SIDE - 1]) == 255


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "gif", "bmp", "webp"])
def test_damaged_files_are_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    levels = (_levels(40, 40, 3) >> 8).astype(np.uint8)
    Image.fromarray(levels).save(path)
    whole = path.read_bytes()
    for length in (0, 1, 9, 30, 60, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"a\.{ending} cannot be read as an im"):
            _read(path)


def test_bombs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image"):
        _read(tmp_path / "a.png")


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_a_folder_of_8_and_16_bits(cache_bytes: int, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            eight = np.full((SIDE, SIDE), 51, np.uint8)
            Image.fromarray(eight).save(folder / "0.png")
            Image.fromarray(eight.astype(np.uint16) * 257).save(folder / "1.png")
    data = ImageFolderDataModule(tmp_path, image_size=SIDE, cache_bytes=cache_bytes)
    images, _ = next(iter(data.test_dataloader()))
    assert images.shape == (4, 3, SIDE, SIDE)
    assert torch.allclose(images, torch.tensor(0.2))
