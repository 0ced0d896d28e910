"""Text of others in Markdown: names of classes, models and files mean themselves."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from jinja2 import Environment, PackageLoader, StrictUndefined

_MARKS = re.compile(r"([\\`*|~$]|\](?=[(\[:]))")
_UNDERLINES = re.compile(r"(?<!\w)_|_(?!\w)")
_OPENING = re.compile(r"^(>|(#+|[+-]|\d+[.)])(?=\s))")


def plain(text: str) -> str:
    r"""Return text that Markdown shows as it is, in one line.

    No mark-up, HTML, link or end of a cell or line is left in it.

    Examples:
        >>> print(plain("a|b\n<script> [c](http://d) `e` resnet8_tiny"))
        a\|b &lt;script> [c\](http&#58;//d) \`e\` resnet8_tiny
    """
    shown = "".join(each if each.isprintable() else " " for each in text)
    shown = " ".join(shown.split()).replace("&", "&amp;").replace("<", "&lt;")
    shown = _UNDERLINES.sub(r"\\_", _MARKS.sub(r"\\\1", shown))
    # Links without mark-up are made from what looks like an address.
    shown = shown.replace("://", "&#58;//").replace("www.", "www&#46;")
    return _OPENING.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", shown)


def table(headings: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    r"""Return a table; what is in its cells is shown as it is.

    Examples:
        >>> print(table(("class", "images"), [("a|b", "3")]))
        | class | images |
        | --- | --- |
        | a\|b | 3 |
    """
    heads = list(headings)
    head, *body = (
        f"| {' | '.join(plain(str(cell)) for cell in line)} |"
        for line in [heads, *rows]
    )
    return "\n".join([head, f"|{' --- |' * len(heads)}", *body])


@functools.cache
def templates(package: str) -> Environment:
    """Return the templates of a package; a name that is missing is an error.

    In `.html.j2` everything is escaped; in `.md.j2` text goes through the filter
    `plain`, or through the function `table`.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = plain
    environment.globals["table"] = table
    return environment
