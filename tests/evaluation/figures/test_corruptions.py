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
    numbers = [text for text in texts if "." in text]
    expected = "90.0 70.0 80.0 20.0 80.0 50.0 85.0 45.0 65.0"
    assert numbers == expected.split()
    assert {"1", "5", "fog", "gaussian noise"} <= set(texts)
    (title,) = figure.texts
    assert title.get_text() == "C-style\naccuracy (%), 95.0 on clean images"


@pytest.mark.parametrize("found", [{}, {"fog": [1.0]}, {**FOUND, "snow": [1.0]}])
def test_every_corruption_needs_every_severity(found: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="one for each of the 2 severities"):
        figures.corruption_map(found, severities=[1, 5], clean_accuracy=95.0)
