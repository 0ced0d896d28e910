"""Read the tables of a page, and check that its tags are closed."""

from __future__ import annotations

from html.parser import HTMLParser


def read(page: str) -> list[str]:
    """Return the text of all cells of tables."""
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    return reader.cells


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "img", "br"):
            return
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data
