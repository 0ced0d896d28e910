"""The tables of methods and of costs in the documentation.

The one comes from what the tests measure, the other from what the callback announces.
`python -m tests.methods_zoo.table` writes them into docs/methods.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from lightly_adv.training.cost import StepCost
from tests.methods_zoo import METHODS
from tests.methods_zoo.method import Method

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
HEAD = [
    "| method | `replace` | `dual` | views that receive gradient | remarks |",
    "| --- | --- | --- | --- | --- |",
]
COST_HEAD = [
    "| views | attack | evaluations | forward, backward | `replace` | `dual` |",
    "| --- | --- | --- | --- | --- | --- |",
]
STEPS = 5
"""Steps of the attack in the table of costs."""

CROPS = {224: 2, 96: 6}
COSTS: list[tuple[str, str, dict[int, int], dict[int, int], dict[str, Any]]] = [
    ("one: MAE, SimMIM, AIM", "", {224: 1}, {224: 1}, {}),
    ("two: SimCLR, BYOL, VICReg", "", {224: 2}, {224: 2}, {}),
    ("two", "`independent=True`", {224: 2}, {224: 2}, {"independent": True}),
    ("two, one with gradient: MoCo", "", {224: 2}, {224: 1}, {"unreached": 1}),
    ("two, one with gradient", "`views=[0]`", {224: 2}, {224: 1}, {}),
    ("2 large, 6 small: DINO, SwAV", "", CROPS, CROPS, {}),
    ("2 large, 6 small", '`views="global"`', CROPS, {224: 2}, {}),
]
"""Views, attack, crops of a size, those that are attacked, more for `StepCost`."""


def render_costs() -> str:
    """Return the table of costs, per image of the batch."""
    rows = []
    for views, attack, make_images, attacked, more in COSTS:
        replace, dual = (
            StepCost(
                _crops(make_images),
                _crops(attacked),
                evaluations=STEPS,
                streams=streams,
                **more,
            )
            for streams in (1, 2)
        )
        rows.append(
            f"| {views} | {attack} | {replace.runs} "
            f"| {replace.forward}, {replace.backward} "
            f"| {replace.ratio:.1f} | {dual.ratio:.1f} |"
        )
    return "\n".join([*COST_HEAD, *rows])


def _crops(sizes: dict[int, int]) -> list[torch.Tensor]:
    """Return crops of one image that take no memory."""
    return [
        torch.empty(1, 3, size, size, device="meta")
        for size, count in sizes.items()
        for _ in range(count)
    ]


def render() -> str:
    """Return the table of methods; every replica passes the tests in both modes."""
    rows = [
        f"| {_linked(each.name)} | yes | yes | {_views(each)} | {each.remarks} |"
        for each in METHODS
    ]
    return "\n".join([*HEAD, *rows])


def page(name: str) -> str:
    """Return where the page of a method is, seen from the table."""
    return f"methods/{re.sub('[^a-z0-9]', '', name.lower())}.md"


def _linked(name: str) -> str:
    return f"[{name}]({page(name)})"


def _views(method: Method) -> str:
    numbers = " or ".join(", ".join(map(str, views)) for views in method.reached)
    return f"{method.gradient} ({numbers})"


def embedded(text: str) -> str:
    """Return the page with the tables of today in the place of those in it."""
    lines = text.split("\n")
    for head, table in ((HEAD, render()), (COST_HEAD, render_costs())):
        start = lines.index(head[0])
        count = next(
            at for at, line in enumerate(lines[start:]) if not line.startswith("|")
        )
        lines[start : start + count] = table.split("\n")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(embedded(PAGE.read_text()))
