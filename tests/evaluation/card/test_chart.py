from __future__ import annotations

import re
from xml.etree import ElementTree

from lightly_adv.evaluation.card.chart import HEIGHT, WIDTH, Point, line_chart

POINTS = [Point("0", 100.0, 90.0, 100.0), Point("<1>", 50.0, 40.0, 60.0)]


def test_higher_is_better_and_everything_is_inside() -> None:
    text = line_chart(POINTS, axis='"eps" & more', about="Accuracy", marked="<1>")
    root = ElementTree.fromstring(text)
    circles = [each for each in root if each.tag == "circle"]
    (x0, y0), (x1, y1) = (
        (float(each.attrib["cx"]), float(each.attrib["cy"])) for each in circles
    )
    assert x0 < x1
    assert y0 < y1
    (line,) = (each for each in root if each.attrib.get("class") == "mark")
    assert float(line.attrib["x1"]) == x1
    for x, y in re.findall(r"([\d.]+),([\d.]+)", text):
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT
    assert root.attrib["aria-label"] == "Accuracy: 0 100.0, <1> 50.0"


def test_a_single_point() -> None:
    root = ElementTree.fromstring(line_chart(POINTS[:1], axis="eps", about="a"))
    assert sum(each.tag == "circle" for each in root) == 1
    assert not [each for each in root if each.attrib.get("class") == "band"]
