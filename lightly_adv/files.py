"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, a used up quota or a limit on sizes is told by."""


def replace(
    path: Path, content: str | bytes | memoryview, *, keep: Path | None = None
) -> None:
    """Write a file so that a kill at any moment leaves the old or the new one.

    Args:
        path: The file. Missing folders are made.
        content: All that it is to hold; text is written as UTF-8.
        keep: Another name for what the file held before, in the same folder.

    Raises:
        OSError: If it cannot be written, with the name of the file. What was there is
            there still.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "notes.txt")
        ...     replace(path, "first")
        ...     replace(path, "second", keep=Path(folder, "before.txt"))
        ...     path.read_text(), Path(folder, "before.txt").read_text()
        ('second', 'first')
    """
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(beside, data)
        if keep is not None and path.exists():
            _keep(path, keep)
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _named(error, path) from error


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, in the place of whatever had that name."""
    link = name.with_name(f"{name.name}.part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # not all file systems know links
        path.replace(name)
    else:
        link.replace(name)


def _sync_folder(folder: Path) -> None:
    """Let the new name outlast a power cut, where a folder can be synchronised."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _named(error: OSError, path: Path) -> OSError:
    """Return the same kind of error, with the file and the way out in its message."""
    reason = error.strerror or str(error)
    if error.errno not in NO_SPACE:
        return type(error)(error.errno, reason, str(path))
    kept = "what it held before is still there" if path.exists() else "nothing is lost"
    return OSError(
        error.errno, f"{reason}: no space to write this file; {kept}", str(path)
    )
