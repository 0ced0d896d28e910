from __future__ import annotations

import pytest

from lightly_adv.markdown import plain, table

HOSTILE = (
    "a|b",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](http://y/z.png)",
    "`code`",
    "line\nbreak\u2028# heading",
    "**bold** ~~gone~~ $x$",
    "www.example.org",
    "a\\|b",
    "&lt;b&gt;",
    "\x1b[31mred\u202e",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_left_that_marks_up(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    left = shown
    for mark in "\\`*]|~$":
        left = left.replace(f"\\{mark}", "")
    assert not set(left) & set("\\`*|~$<")
    assert "](" not in left
    assert "://" not in shown
    assert "www." not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("resnet8_tiny 8/255, 81.2 (77.6 to 84.4)", None),
        ("- x", "\\- x"),
        ("1. x", "1\\. x"),
        ("## x", "#\\# x"),
        ("> x", "\\> x"),
        ("_x_", "\\_x\\_"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_plain_text(text: str, shown: str | None) -> None:
    assert plain(text) == (shown or text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_stays_one_cell(text: str) -> None:
    lines = table(("name", "n"), [(text, "3")]).splitlines()
    assert len(lines) == 3
    assert lines[2].replace("\\\\", "").replace("\\|", "").count("|") == 3
