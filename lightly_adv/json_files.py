"""JSON that may have been damaged or edited: read, and checked field by field."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias


class Need(NamedTuple):
    """What a field has to hold."""

    fits: Callable[[Any], bool]
    """Whether a value will do; a field that is not there is None."""

    expected: str
    """The same in words."""


Needs: TypeAlias = Mapping[str, Need]


def read(path: Path, needs: Needs, *, what: str, remedy: str) -> dict[str, Any]:
    """Return the object in a JSON file, when every field is what is needed.

    The order of its keys means nothing: many tools sort them.

    Args:
        path: The file.
        needs: What the fields have to hold, by their names.
        what: What the file should be, such as "the state of an evaluation".
        remedy: What to do where it is not.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, no object, or lacks something; with the field.

    Examples:
        >>> import tempfile
        >>> needs = {"seed": Need(lambda x: isinstance(x, int), "an integer")}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "run.json")
        ...     written = path.write_text('{"seed": 3}')
        ...     read(path, needs, what="a run", remedy="Run it again.")
        {'seed': 3}
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; expected {what}. {remedy}")
    return parse(path.read_bytes(), needs, path=path, what=what, remedy=remedy)


def parse(
    text: str | bytes, needs: Needs, *, path: Path | str, what: str, remedy: str
) -> dict[str, Any]:
    """Return the object in a JSON text; see `read`.

    Raises:
        ValueError: If it is not JSON, no object, or lacks something; with the field.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not JSON, or only a part of it ({error}); expected {what}. "
            f"{remedy}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} is not {what}, but holds a {type(content).__name__}. {remedy}"
        )
    check(content, needs, path=path, what=what, remedy=remedy)
    return content


def check(
    content: Mapping[str, Any],
    needs: Needs,
    *,
    path: Path | str,
    what: str,
    remedy: str,
) -> None:
    """Raise a ValueError that names the first field that is not what is needed.

    Args:
        content: The fields.
        needs: See `read`, also for the rest.
        path: Where they come from, such as a file.
        what: What it should be.
        remedy: What to do where it is not.
    """
    for name, need in needs.items():
        if not need.fits(content.get(name)):
            raise ValueError(
                f"{path} is not {what}: {name!r} in it is "
                f"{reprlib.repr(content.get(name))}, expected {need.expected}. {remedy}"
            )


def has(part: Any, *keys: str) -> bool:
    """Return whether something is an object with these keys.

    Examples:
        >>> has({"name": "mine"}, "name"), has(["name"], "name")
        (True, False)
    """
    return isinstance(part, dict) and all(key in part for key in keys)


def is_number(part: Any) -> bool:
    """Return whether something is a number, and not true or false."""
    return isinstance(part, int | float) and not isinstance(part, bool)


def is_list(
    part: Any, fits: Callable[[Any], bool], *, length: int | None = None
) -> bool:
    """Return whether something is a list of what fits.

    Examples:
        >>> is_list([0, 0.5], is_number), is_list([0], is_number, length=2)
        (True, False)
    """
    right = isinstance(part, list) and all(map(fits, part))
    return right and (length is None or len(part) == length)


def is_text(part: Any) -> bool:
    """Return whether something is a string."""
    return isinstance(part, str)
