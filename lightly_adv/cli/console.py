"""Output of the commands, and their errors."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def say(text: str) -> None:
    """Write a line to standard output, unbuffered."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write an error as one line."""
    sys.stderr.write(f"lightly-adv: error: {' '.join(text.split())}\n")
    sys.stderr.flush()


def help_texts(docstring: str | None) -> dict[str, Any]:
    r"""Return what the help of a command says before and after the options.

    Args:
        docstring: That of the command; its examples come after the options.

    Examples:
        >>> help_texts("Fly.\n\nFar.\n\nExamples:\n  fly home")["description"]
        'Fly.\n\nFar.'
    """
    text = inspect.cleandoc(docstring or "")
    description, heading, examples = text.partition("\n\nExamples:\n")
    epilog = f"{heading.lower()}{examples}".strip()
    return {"description": description, "epilog": epilog}


def table(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, str] | None = None
) -> str:
    """Return rows as aligned text: the first column to the left, others to the right.

    Args:
        rows: One mapping per line; floats are shown with one decimal.
        columns: From the keys to show to their headings. Defaults to the keys of the
            first row.

    Examples:
        >>> for line in table([{"name": "a", "accuracy": 1.25}]).splitlines():
        ...     line
        'name  accuracy'
        'a          1.2'
    """
    columns = columns or {key: key for key in rows[0]}
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    lines = [list(columns.values()), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
