"""Images of a folder of any layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from lightly_adv.data.image_files import ImageFiles
from lightly_adv.data.training_loader import Draw


def write(path: Path, level: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(torch.full((3, 6, 6), level), path)


def test_all_depths_and_no_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 0.2)
    write(tmp_path / "x" / "y" / "b.PNG", 0.4)
    write(tmp_path / ".cache" / "c.png", 0.6)
    (tmp_path / "notes.txt").write_text("no image")
    images = ImageFiles(tmp_path, image_size=4)
    assert [Path(path).name for path in images.paths] == ["a.png", "b.PNG"]
    found = images.__getitems__([Draw(1, 0, 0), 0])
    assert found.shape == (2, 3, 4, 4)
    assert found[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.2], abs=1e-6)


def test_unreadable_files_are_named_once_and_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 0.2)
    (tmp_path / "b.png").write_text("broken")
    write(tmp_path / "c.png", 0.4)
    images = ImageFiles(tmp_path, image_size=6)
    with pytest.warns(UserWarning, match=r"skipped: .*b\.png") as told:
        first = images[1]
    assert torch.equal(first, images[2])
    assert torch.equal(images[1], first)
    assert len(told) == 1


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFiles(tmp_path / "no", image_size=4)
    with pytest.raises(FileNotFoundError, match=r"no images, at any depth.*\.png"):
        ImageFiles(tmp_path, image_size=4)
    (tmp_path / "b.png").write_text("broken")
    images = ImageFiles(tmp_path, image_size=4)
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match="none of the 1 images"),
    ):
        images[0]
