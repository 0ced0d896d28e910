from __future__ import annotations

from typing import Any

import pytest

from lightly_adv.evaluation import figures

pytest.importorskip("matplotlib")


def row(name: str, eps: float, robust: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "eps": eps / 255, "robust_accuracy": robust, **more}


def test_lines_are_means_over_eps_and_bands_hold_all_seeds() -> None:
    rows = [
        row("a", 8, 30.0),
        row("a", 0, 80.0),
        row("a", 8, 36.0),
        row("a", 0, 82.0),
        row("b", 0, 90.0),
        row("b", 8, 50.0),
    ]
    axes: Any = figures.robustness_curves(rows).axes[0]
    first, second = axes.lines
    assert first.get_xdata() == pytest.approx([0, 8])
    assert list(first.get_ydata()) == [81.0, 33.0]
    assert list(second.get_ydata()) == [90.0, 50.0]
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (30.0, 82.0)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["b", "a"]


def test_the_axes_carry_suite_and_norm() -> None:
    rows = [row("a", eps, 50, suite="pgd-20", norm="L2") for eps in (0, 8)]
    (axes,) = figures.robustness_curves(rows, title="T").axes
    assert axes.get_xlabel() == "eps (1/255), L2"
    assert axes.get_ylabel() == "robust accuracy (%): pgd-20"
    assert axes.get_title(loc="left") == "T"


def test_rows_that_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match=r"lacks \['eps'\]"):
        figures.robustness_curves([{"name": "a", "robust_accuracy": 1.0}])
    with pytest.raises(ValueError, match="values of norm"):
        figures.robustness_curves(
            [row("a", 0, 1, norm="L2"), row("a", 0, 1, norm="L1")]
        )
