"""What happens to JSON files: they are cut off, and edited."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OTHERS: tuple[Any, ...] = (None, True, -1, 2.5, "text", [], [[1]], {}, {"a": [{}]})
"""Values of other kinds, in place of what belongs there."""

FEW = 3
"""So many entries of a list are damaged; the others are like them."""


def texts(content: Any) -> Iterator[str]:
    """Yield files that are cut off, of other tools, and with one value edited."""
    whole = json.dumps(content)
    yield from (whole[:length] for length in range(0, len(whole), len(whole) // 20))
    yield from ("null", "[]", "[1]", '"text"', "{}", "NaN", "[" * 100_000, "\x00")
    yield from map(json.dumps, edited(content))


def complaints(path: Path, content: Any, read: Callable[[], Any]) -> list[str]:
    """Write damaged files and read them; return what the errors say.

    Anything but a `ValueError` is raised.
    """
    told = []
    for text in texts(content):
        path.write_text(text)
        try:
            read()
        except ValueError as error:
            told.append(str(error))
    return told


def edited(content: Any) -> Iterator[Any]:
    """Yield the content with one value replaced or removed, for every one of them."""
    for path in list(_paths(content)):
        for other in OTHERS:
            yield _with(content, path, other)
        yield _without(content, path)


def _paths(content: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(content, dict):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))[:FEW]
    else:
        items = []
    for key, value in items:
        yield (key,)
        yield from ((key, *rest) for rest in _paths(value))


def _with(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def _without(content: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed
