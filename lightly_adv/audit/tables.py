"""Tables in files: CSV, Markdown, and the JSON that results are written to."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 16 * 2**20
"""Larger files are no tables."""


@dataclass(frozen=True)
class Table:
    """A table as it is written.

    Args:
        title: Where it is, such as "table at line 12".
        header: The names of its columns.
        rows: Its cells, as text, as many in each row as there are columns.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def read_tables(path: Path) -> tuple[list[Table], str]:
    """Return the tables of a file, and all of its text.

    Args:
        path: A file of CSV (also with tabs or semicolons), Markdown, or JSON.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text, too large, or broken JSON.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes; expected a table of at most "
            f"{MAX_BYTES}."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text ({error.reason} at byte {error.start}); expected CSV, "
            "Markdown or JSON. Save a spreadsheet as CSV."
        ) from error
    if path.suffix == ".json":
        return list(_from_json(path, text)), text
    tables = list(_from_markdown(text))
    return tables or list(_from_csv(text)), text


def _from_markdown(text: str) -> Iterator[Table]:
    lines = text.splitlines()
    for number in range(1, len(lines)):
        if not re.fullmatch(r"\s*\|?[\s:|-]*-[\s:|-]*", lines[number]):
            continue
        header = _split(lines[number - 1])
        if "|" not in lines[number - 1] or len(header) != len(_split(lines[number])):
            continue
        rows = []
        for line in lines[number + 1 :]:
            if "|" not in line:
                break
            rows.append(_padded(_split(line), len(header)))
        yield Table(f"table at line {number}", header, rows)


def _split(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    cells = re.split(r"(?<!\\)\|", line)
    return [cell.replace("\\|", "|").strip() for cell in cells]


def _padded(cells: Sequence[str], count: int) -> list[str]:
    return [*cells, *[""] * count][:count]


def _from_csv(text: str) -> Iterator[Table]:
    lines = [line for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    if not lines:
        return
    delimiter = max(",;\t", key=lines[0].count)
    header, *rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
    header = [cell.strip() for cell in header]
    yield Table("table", header, [_padded(row, len(header)) for row in rows])


def _from_json(path: Path, text: str) -> Iterator[Table]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    for title, records in _records(content, ""):
        header = list(dict.fromkeys(key for record in records for key in record))
        rows = [[_text(record.get(key)) for key in header] for record in records]
        yield Table(title or "table", header, rows)


def _records(part: Any, title: str) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yield what may be tables: lists and mappings of objects, objects of numbers."""
    if isinstance(part, list):
        if part and all(isinstance(record, dict) for record in part):
            yield title, part
    elif isinstance(part, dict):
        numbers = {key: value for key, value in part.items() if _is_plain(value)}
        if numbers:
            yield title, [numbers]
        objects = {k: v for k, v in part.items() if isinstance(v, dict)}
        if len(objects) > 1 and not numbers:
            yield title, [{"name": key, **value} for key, value in objects.items()]
            return
        for key, value in part.items():
            yield from _records(value, f"{title}.{key}".lstrip("."))


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return str(value) if _is_plain(value) else ""
