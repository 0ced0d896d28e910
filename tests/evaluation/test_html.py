from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lightly_adv.evaluation import html

PNG = b"\x89PNG and so on"
ROWS = [
    {
        "name": "first",
        "clean_accuracy": 80.04,
        "robust_accuracy": 45.0,
        "eps": 8 / 255,
        "eps_text": "8/255",
        "num_samples": 10000,
    },
    {"name": "<second>", "clean_accuracy": 82.0, "robust_accuracy": 41.0},
]


class Reader(HTMLParser):
    """Collects the cells of tables and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.best: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "img"):
            return
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            if ("class", "best") in attrs:
                self.best.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def page(**changes: Any) -> str:
    return html.render_report(**{"title": "Digits", "rows": ROWS, **changes})


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def test_the_table_holds_every_column_once_and_numbers_as_people_read_them() -> None:
    reader = read(page())
    assert reader.cells == [
        *("name", "clean %", "robust %", "eps", "images"),
        *("first", "80.0", "45.0", "8/255", "10,000"),
        *("<second>", "82.0", "41.0", "-", "-"),
    ]
    assert len(reader.best) == 2


def test_a_page_needs_nothing_else() -> None:
    text = page(figures={"A figure.": PNG}, warnings=["w"], settings={"lr": 0.1})
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(encoded) == PNG
    read(text)


def test_text_is_escaped() -> None:
    text = page(title="<b>", summary="a & b", warnings=["<i>"], settings={"<k>": "<v>"})
    for raw in ("<b>", "<i>", "<k>", "<v>", "<second>"):
        assert raw not in text
    assert "a &amp; b" in text


def test_settings_warnings_and_versions_are_shown() -> None:
    text = page(
        settings={"lr": 0.1, "seeds": [0, 1], "amp": False, "none": None},
        warnings=["beware"],
    )
    cells = read(text).cells
    assert cells[-8:] == ["lr", "0.1", "seeds", "0, 1", "amp", "False", "none", "-"]
    assert "<li>beware</li>" in text
    (footer,) = re.findall(r"<footer>(.*)</footer>", text)
    for package in ("lightly-adv", "lightly", "timm", "torch"):
        assert re.search(rf"\b{package} \d", footer)


def test_what_is_empty_is_left_out() -> None:
    text = page()
    for heading in ("Figures", "Settings", "care"):
        assert heading not in text


def test_figures_are_drawn() -> None:
    pytest.importorskip("matplotlib")
    from lightly_adv.evaluation import figures

    text = page(figures={"Scatter.": figures.accuracy_scatter(ROWS)})
    (encoded,) = re.findall(r"base64,([^\"]+)", text)
    assert base64.b64decode(encoded).startswith(b"\x89PNG")


def test_pages_are_written(tmp_path: Path) -> None:
    path = html.write_report(tmp_path / "new" / "report.html", title="é", rows=ROWS)
    assert path.read_text(encoding="utf-8") == page(title="é")


def test_rows_that_cannot_be_reported() -> None:
    with pytest.raises(ValueError, match="rows is empty"):
        page(rows=[])
    with pytest.raises(ValueError, match=r"lacks \['robust_accuracy'\]"):
        page(rows=[{"name": "a", "clean_accuracy": 1.0}])


def test_names_mean_themselves() -> None:
    harm = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`|"
    page = html.render_report(
        title=harm,
        rows=[
            {"name": harm, "clean_accuracy": 1.0, "robust_accuracy": 0.0, harm: harm}
        ],
        figures={harm: PNG},
        settings={harm: [harm]},
        warnings=[harm],
        summary=harm,
    )
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;") >= 8
