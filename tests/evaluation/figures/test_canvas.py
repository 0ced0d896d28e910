from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lightly_adv.evaluation import figures
from lightly_adv.evaluation.figures import canvas


def test_figures_are_saved_as_their_ending_says(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = canvas.new_figure(1, 1)
    png = figures.save(figure, tmp_path / "new" / "figure.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    svg = figures.save(figure, str(tmp_path / "figure.svg"))
    assert b"<svg" in svg.read_bytes()
    assert figures.to_png(figure).startswith(b"\x89PNG")


def test_without_matplotlib_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    row = {"name": "a", "clean_accuracy": 1.0, "robust_accuracy": 1.0}
    with pytest.raises(ImportError, match=r"pip install lightly-adv\[plot\]"):
        figures.accuracy_scatter([row])


NAMES = ("a$\\frac{$ <b>|`x$_x$", "$", "x^$2$", "a_b")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_formulas(name: str) -> None:
    pytest.importorskip("matplotlib")
    row = {"name": name, "clean_accuracy": 80.0, "robust_accuracy": 40.0, "eps": 0.03}
    maps = figures.transfer_maps(
        (name, "other"),
        clean_accuracy=(80.0, 60.0),
        accuracy=((1.0, 2.0), (3.0, 4.0)),
        cosine=((1.0, 0.1), (0.1, 1.0)),
        title=name,
    )
    scatter = figures.accuracy_scatter([row], title=name)
    curves = figures.robustness_curves([row, {**row, "eps": 0.0}], title=name)
    for figure in (maps, scatter, curves):
        assert figures.to_png(figure).startswith(b"\x89PNG")
