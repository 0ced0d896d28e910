from __future__ import annotations

from pathlib import Path

import pytest

from lightly_adv import json_files
from lightly_adv.json_files import Need

NEEDS = {"seed": Need(json_files.is_number, "a number")}


def read(path: Path) -> dict[str, object]:
    return json_files.read(path, NEEDS, what="a run", remedy="Run it again.")


def test_what_is_right_is_returned(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"seed": 3, "other": []}')
    assert read(path) == {"seed": 3, "other": []}
    path.write_bytes(b'\xef\xbb\xbf{"seed": 3}')  # as tools on Windows write it
    assert read(path) == {"seed": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not JSON"),
        (b'{"seed": 3', "only a part of it"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "is not a run, but holds a list"),
        (b"{}", "'seed' in it is None, expected a number"),
        (b'{"seed": true}', "'seed' in it is True"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=words) as caught:
        read(path)
    assert "Run it again." in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.json; expected a run"):
        read(tmp_path / "a.json")
