"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Write a file so that a kill at any moment leaves the old or the new one.

    Args:
        path: The file; its folder has to be there.
        text: All that it is to hold.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "notes.txt")
        ...     replace(path, "first")
        ...     replace(path, "second")
        ...     path.read_text()
        'second'
    """
    beside = path.with_name(f"{path.name}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
