from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from lightly_adv import files


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which nothing reaches the ground."""

    def fsync(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("content", ["text", b"bytes", memoryview(b"view")])
def test_a_file_is_written_and_nothing_beside_it(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "new" / "x"
    files.replace(path, content)
    assert path.read_bytes() in (b"text", b"bytes", b"view")
    assert list(path.parent.iterdir()) == [path]


def test_what_was_before_is_kept(tmp_path: Path) -> None:
    path, before = tmp_path / "x", tmp_path / "before-x"
    for text in ("1", "2", "3"):
        files.replace(path, text, keep=before)
    assert (path.read_text(), before.read_text()) == ("3", "2")
    assert len(list(tmp_path.iterdir())) == 2


def test_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    test_what_was_before_is_kept(tmp_path)


def test_a_full_disk_is_told_and_leaves_all_as_it_was(
    tmp_path: Path, full: None
) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(OSError, match=r"no space.*still there.*x'") as found:
        files.replace(path, "new", keep=tmp_path / "before-x")
    assert found.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="nothing is lost"):
        files.replace(tmp_path / "y", "new")


def test_other_errors_keep_their_kind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        files.replace(tmp_path / "folder", "x")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
