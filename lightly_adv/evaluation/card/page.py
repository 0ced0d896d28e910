"""A card as one HTML page that loads nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lightly_adv.evaluation import html
from lightly_adv.evaluation.card import chart, view
from lightly_adv.evaluation.card.chart import Point
from lightly_adv.evaluation.card.examples import Example
from lightly_adv.evaluation.card.view import Content

LARGEST = 160
"""Pixels of the longer side of an image, from which on it is made smaller."""

MOST_ROWS = 25
"""How many classes are shown, the least robust ones."""


def render(content: Content, examples: Sequence[Example]) -> str:
    """Return a page with all tables, the curves and the images inside.

    Args:
        content: As from `ResultCard.to_dict`.
        examples: The images, as in `ResultCard`.
    """
    (row,) = content["rows"]
    classes = view.classes(content)
    template = html.environment().get_template("card.html.j2")
    return template.render(
        title=row["name"],
        label=content["label"],
        headline={
            side: (f"{value:.1f}", *(f"{end:.1f}" for end in interval))
            for side, (value, interval) in view.headline(content).items()
        },
        warnings=content["warnings"],
        notes=content["notes"],
        checks=content.get("checks", []),
        attacks=view.attacks(content),
        curves=_curves(content),
        classes=classes[:MOST_ROWS],
        classes_left=max(len(classes) - MOST_ROWS, 0),
        confusion=_confusion(content),
        confused=view.confused(content),
        examples=[_shown(each, content) for each in examples],
        settings=view.settings(content),
    )


def _curves(content: Content) -> dict[str, Any]:
    found = content["curves"]
    if not found:
        return {}
    (row,) = content["rows"]
    norm, suite = row["norm"], found["steps_over_eps"]
    return {
        "about": view.curve_costs(content),
        "eps": _chart(found["eps"], "eps_text", f"eps ({norm})", row["eps_text"]),
        "steps": _chart(found["steps"], "steps", "steps of PGD", str(suite)),
    }


def _chart(rows: Sequence[Any], key: str, axis: str, marked: str) -> str:
    points = [
        Point(str(row[key]), row["robust_accuracy"], *row["interval"]) for row in rows
    ]
    about = f"Robust accuracy in percent over {axis}"
    return chart.line_chart(points, axis=axis, about=about, marked=marked)


def _confusion(content: Content) -> dict[str, Any]:
    """Return the matrix with names and shares, if it is small enough to be read."""
    matrix = content.get("confusion", [])
    if not 0 < len(matrix) <= MOST_ROWS:
        return {}
    names = [view.class_name(content, number) for number in range(len(matrix))]
    rows = []
    for name, counts in zip(names, matrix, strict=True):
        total = max(sum(counts), 1)
        rows.append((name, [(count, round(count / total, 2)) for count in counts]))
    return {"names": names, "rows": rows}


def _shown(example: Example, content: Content) -> dict[str, Any]:
    clean, attacked = _small(example.clean), _small(example.attacked)
    delta = attacked - clean
    largest = float(delta.abs().max())
    factor = max(1, round(0.5 / largest)) if largest > 0 else 1
    label, before, after = (
        view.class_name(content, number)
        for number in (
            example.label,
            example.clean_prediction,
            example.attacked_prediction,
        )
    )
    return {
        "label": label,
        "attack": example.attack,
        "number": example.number,
        "factor": factor,
        "clean": (_png(clean), before, before == label),
        "attacked": (_png(attacked), after, after == label),
        "difference": _png(0.5 + factor * delta),
    }


def _small(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(image[None], size=size, mode="area")[0]


def _png(image: Tensor) -> str:
    """Return pixels (C, H, W) in [0, 1] as the text of a PNG file."""
    from PIL import Image

    levels = (255 * image.clamp(0, 1)).round().byte()
    levels = levels.expand(3, -1, -1) if len(levels) == 1 else levels[:3]
    buffer = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
