from __future__ import annotations

import random
from typing import Any

import pytest

from lightly_adv.evaluation import figures
from lightly_adv.evaluation.figures import canvas

pytest.importorskip("matplotlib")

CROWD = {
    "standard": (86.0, 2.0),
    "PGD": (78.0, 46.0),
    "SimCLR + AT": (81.0, 44.0),
    "rotation + AT": (79.5, 47.2),
    "jigsaw + AT": (76.0, 44.8),
    "selfie + AT": (77.2, 45.1),
    "ensemble": (80.5, 48.9),
    "TRADES": (77.0, 47.9),
    "ensemble + diversity": (80.1, 50.0),
}


def row(name: str, clean: float, robust: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "clean_accuracy": clean, "robust_accuracy": robust, **more}


def crowd() -> list[dict[str, Any]]:
    noise = random.Random(0)
    return [
        row(name, clean + noise.gauss(0, 0.6), robust + noise.gauss(0, 0.6))
        for name, (clean, robust) in CROWD.items()
        for _ in range(3)
    ]


def test_the_legend_lists_all_names_from_the_most_robust() -> None:
    (axes,) = figures.accuracy_scatter(crowd()).axes
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert sorted(names) == sorted(CROWD)
    assert names[0] == "ensemble + diversity"
    assert names[-1] == "standard"
    handles: Any = legend.legend_handles
    colors = [handle.get_facecolor().tolist() for handle in handles]
    assert len({str(color) for color in colors}) == len(canvas.COLORS)


def test_the_marker_is_the_mean_of_the_seeds() -> None:
    rows = [row("a", 80, 40), row("a", 82, 44), row("b", 70, 50)]
    axes: Any = figures.accuracy_scatter(rows).axes[0]
    offsets = [points.get_offsets().tolist() for points in axes.collections]
    assert offsets == [[[80, 40], [82, 44]], [[81, 42]], [[70, 50]]]


def test_the_axis_carries_suite_and_threat_model() -> None:
    more = {"suite": "pgd-20", "norm": "Linf", "eps_text": "8/255"}
    (axes,) = figures.accuracy_scatter([row("a", 80, 40, **more)], title="T").axes
    assert axes.get_ylabel() == "robust accuracy (%): pgd-20, Linf 8/255"
    assert axes.get_title(loc="left") == "T"


def test_many_names_look_different() -> None:
    assert len({canvas.look(index) for index in range(56)}) == 56


def test_rows_that_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="rows is empty"):
        figures.accuracy_scatter([])
    with pytest.raises(ValueError, match=r"lacks \['robust_accuracy'\]"):
        figures.accuracy_scatter([{"name": "a", "clean_accuracy": 1.0}])
    with pytest.raises(ValueError, match=r"values of suite.*not comparable"):
        figures.accuracy_scatter(
            [row("a", 1, 1, suite="smoke"), row("b", 1, 1, suite="pgd-20")]
        )
