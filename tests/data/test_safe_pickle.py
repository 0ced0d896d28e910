from __future__ import annotations

import io
import os
import pickle
import pickletools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightly_adv.data import safe_pickle

# What Python 2 wrote for {"data": np.arange(6, dtype="u1").reshape(2, 3),
# "labels": [1, 2]}, with protocol 2, opcode by opcode.
PYTHON_2 = (
    b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02"
    b"cnumpy\nndarray\nq\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02K\x03"
    b"\x86q\x08cnumpy\ndtype\nq\tU\x02u1q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01|q\rNNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x06\x00\x01\x02\x03\x04\x05"
    b"q\x0ftq\x10bU\x06labelsq\x11]q\x12(K\x01K\x02eu."
)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "batch"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    content: dict[Any, Any] = {
        "data": np.arange(24, dtype=np.uint8).reshape(2, 12),
        "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.array([1, 256], dtype=">i4"),
        "flags": np.array([True, False]),
        "labels": [1, np.int64(7)],
        "nested": ({"mean": np.float32(0.5)}, b"bytes", None),
    }
    found = safe_pickle.load(written(tmp_path, pickle.dumps(content, protocol)))
    assert list(found) == list(content)
    for key in ("data", "turned", "big", "flags"):
        np.testing.assert_array_equal(found[key], content[key])
        assert found[key].dtype == content[key].dtype
        assert not found[key].flags.writeable
    assert found["labels"] == [1, 7]
    assert found["nested"] == ({"mean": 0.5}, b"bytes", None)


def test_pickles_of_python_2(tmp_path: Path) -> None:
    found = safe_pickle.load(written(tmp_path, PYTHON_2))
    assert found["data"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["labels"] == [1, 2]
    # The bytes above are what the usual reader takes them for.
    usual = pickle.loads(PYTHON_2, encoding="latin1")
    np.testing.assert_array_equal(usual["data"], found["data"])


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


MARK = "was-run"


@pytest.mark.parametrize(
    ("malicious", "named"),
    [
        (Calls(os.system, f"touch {MARK}"), r"(posix|nt)\.system"),
        (Calls(open, MARK, "w"), r"(io|_io)\.open"),
        (Calls(eval, f"open({MARK!r}, 'w')"), r"builtins\.eval"),
        (Calls(subprocess.check_output, ["touch", MARK]), r"subprocess\.check_output"),
        (Calls(np.load, "other.npy", None, True), r"numpy\.load"),
        (Calls(getattr, "text", "upper"), r"builtins\.getattr"),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_nothing_else_is_called(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    malicious: Any,
    named: str,
    hidden: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"data": np.zeros((2, 3), np.uint8), "labels": [1, malicious]}
    raw = pickle.dumps(content if hidden else malicious)
    with pytest.raises(ValueError, match=rf"batch asks for {named}, which is no part"):
        safe_pickle.load(written(tmp_path, raw))
    assert not (tmp_path / MARK).exists()


def test_the_malicious_pickle_would_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Calls(os.mkdir, MARK)))
    assert (tmp_path / MARK).exists()


def test_what_a_name_stands_for_cannot_be_changed(tmp_path: Path) -> None:
    """A pickle may set attributes of functions; ours are not what it gets."""
    raw = b"\x80\x04c_codecs\nencode\n}\x8c\x06marker\x8c\x04evilsb."
    with pytest.raises(ValueError, match="a function is no data"):
        safe_pickle.load(written(tmp_path, raw))
    reader = safe_pickle._Unpickler(io.BytesIO())
    for module, name in safe_pickle._KNOWN:
        again = reader.find_class(module, name)
        assert again.__module__ == safe_pickle.__name__
        assert not hasattr(again, "marker")


@pytest.mark.parametrize(
    "dtype", [object, "U3", "M8[s]", "c16", [("x", "u1"), ("y", "i4")]]
)
def test_other_dtypes_are_refused(tmp_path: Path, dtype: Any) -> None:
    raw = pickle.dumps({"data": np.zeros(2, dtype=dtype)})
    with pytest.raises(ValueError, match="is not a pickle of arrays, or is damaged"):
        safe_pickle.load(written(tmp_path, raw))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Cut anywhere, a file gives an error that says so, never another one."""
    raw = pickle.dumps({"data": np.arange(6, dtype=np.uint8), "labels": [1, 2]})
    for length in range(len(raw)):
        with pytest.raises(ValueError, match="or is damaged"):
            safe_pickle.load(written(tmp_path, raw[:length]))


def test_arrays_that_claim_another_size_are_refused(tmp_path: Path) -> None:
    raw = pickle.dumps(np.zeros(200, np.uint8), protocol=3)
    shapes = [op for op in pickletools.genops(raw) if op[1] == 200]
    position = shapes[0][2]
    assert position is not None
    larger = raw[: position + 1] + bytes([201]) + raw[position + 2 :]
    with pytest.raises(ValueError, match="cannot reshape array of size 200"):
        safe_pickle.load(written(tmp_path, larger))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nix"):
        safe_pickle.load(tmp_path / "nix")
