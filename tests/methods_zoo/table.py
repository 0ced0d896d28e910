"""The table of methods in the documentation, from what the tests measure.

`python -m tests.methods_zoo.table` writes it into docs/methods.md.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.methods_zoo import METHODS
from tests.methods_zoo.method import Method

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
HEAD = [
    "| method | `replace` | `dual` | views that receive gradient | remarks |",
    "| --- | --- | --- | --- | --- |",
]


def render() -> str:
    """Return the table; every replica in it passes the tests in both modes."""
    rows = [
        f"| {_linked(each.name)} | yes | yes | {_views(each)} | {each.remarks} |"
        for each in METHODS
    ]
    return "\n".join([*HEAD, *rows])


def page(name: str) -> str:
    """Return where the page of a method is, seen from the table."""
    return f"methods/{re.sub('[^a-z0-9]', '', name.lower())}.md"


def _linked(name: str) -> str:
    return f"[{name}]({page(name)})"


def _views(method: Method) -> str:
    numbers = " or ".join(", ".join(map(str, views)) for views in method.reached)
    return f"{method.gradient} ({numbers})"


def embedded(text: str) -> str:
    """Return the page with the table of today in the place of the one in it."""
    lines = text.split("\n")
    start = lines.index(HEAD[0])
    count = next(
        at for at, line in enumerate(lines[start:]) if not line.startswith("|")
    )
    lines[start : start + count] = render().split("\n")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(embedded(PAGE.read_text()))
