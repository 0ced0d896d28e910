"""The figures of the documentation can be drawn again."""

from __future__ import annotations

import importlib
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
LARGEST = 200_000


@pytest.mark.parametrize("name", ["views", "isolation", "streams", "threat_model"])
def test_figure_is_drawn_for_light_and_dark_pages(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FIGURES)
    style, figure = (importlib.import_module(each) for each in ("style", name))
    monkeypatch.setattr(style, "HERE", tmp_path)
    monkeypatch.setattr(figure, "TRAINING_STEPS", 1, raising=False)

    with matplotlib.rc_context(style.SETTINGS):
        drawn = [figure.draw(palette) for palette in (style.LIGHT, style.DARK)]

    assert [path.name for path in drawn] == [f"{name}-light.svg", f"{name}-dark.svg"]
    texts = [path.read_text() for path in drawn]
    assert texts[0] != texts[1]
    for path, text in zip(drawn, texts, strict=True):
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert (FIGURES / path.name).stat().st_size < LARGEST
