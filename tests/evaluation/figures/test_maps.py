"""The map of accuracies under corruptions."""

from __future__ import annotations

import pytest

from lightly_adv.evaluation import figures

FOUND = {"fog": [90.0, 70.0], "gaussian_noise": [80.0, 20.0]}


def test_cells_and_means() -> None:
    figure = figures.corruption_map(
        FOUND, severities=[1, 5], clean_accuracy=95.0, title="C-style"
    )
    (axes,) = figure.axes
    texts = [each.get_text() for each in axes.texts]
    assert [float(text) for text in texts] == [
        *(90, 70, 80),
        *(80, 20, 50),
        *(85, 45, 65),
    ]
    columns, rows = axes.get_xticklabels(), axes.get_yticklabels()
    assert [each.get_text() for each in columns] == ["1", "5", "mean"]
    assert [each.get_text() for each in rows] == ["fog", "gaussian noise", "mean"]
    about = "accuracy (%) by severity; 95.0 on clean images"
    assert axes.get_title(loc="left") == f"C-style\n{about}"


@pytest.mark.parametrize("found", [{}, {"fog": [1.0]}, {**FOUND, "snow": [1.0]}])
def test_every_corruption_needs_every_severity(found: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="one for each of the 2 severities"):
        figures.corruption_map(found, severities=[1, 5], clean_accuracy=95.0)
