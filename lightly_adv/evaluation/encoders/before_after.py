"""One encoder before and after training against attacks, measured side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv import markdown
from lightly_adv.evaluation.encoders.evaluate import evaluate_encoder
from lightly_adv.evaluation.encoders.report import EncoderReport
from lightly_adv.evaluation.figures import canvas
from lightly_adv.isolation import modes
from lightly_adv.threat_model import ThreatModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RADII = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
"""What is attacked with, in L-inf, unless something else is asked for."""

SHOWN = {
    "val_nearest_neighbor_top1": "nearest to itself, %",
    "val_robust_knn_top1": "robust kNN, %",
    "val_knn_top1": "clean kNN, %",
    "val_cosine_drift": "cosine drift",
    "shift_q50": "cosine shift, median",
    "shift_q90": "cosine shift, 90 %",
}
"""Columns of the table, as far as they were measured."""


def cosine_shift(first: Tensor, second: Tensor) -> Tensor:
    """Return by how much the cosine with any direction can differ at most.

    For features a and b it is `|a / |a| - b / |b||`, reached by the direction of that
    difference. So no zero-shot score, which is such a cosine, moves by more. It is at
    most `2 * |a - b| / max(|a|, |b|)`, the bound of [0]; without the factor 2 that
    would be wrong, as features of opposite signs show.

    - [0] Robust CLIP: Unsupervised Adversarial Fine-Tuning of Vision Embeddings for
      Robust Large Vision-Language Models, 2024, https://arxiv.org/abs/2402.12336

    Args:
        first: Features (N, D).
        second: Features (N, D).

    Returns:
        Tensor of shape (N,), in [0, 2].

    Examples:
        >>> cosine_shift(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
        tensor([1.4142])
    """
    difference = F.normalize(first, dim=1) - F.normalize(second, dim=1)
    return difference.square().sum(dim=1).sqrt()


@dataclass(frozen=True)
class BeforeAfter:
    """Measures of two encoders for the same images and noise.

    Args:
        before: A report for each radius.
        after: The same of the other encoder.
        clean_shift: For each image the most that a cosine with its clean features has
            moved from before to after, see `cosine_shift`.
    """

    before: Sequence[EncoderReport]
    after: Sequence[EncoderReport]
    clean_shift: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each encoder and radius."""
        both = {"before": self.before, "after": self.after}
        return [
            {**report.row(name), **_shifts((2 * report.drift).sqrt())}
            for name, reports in both.items()
            for report in reports
        ]

    def to_json(self) -> str:
        """Return the rows and the shift of clean features as JSON."""
        content = {"rows": self.rows(), "clean": _shifts(self.clean_shift)}
        return json.dumps(content, indent=2) + "\n"

    def to_markdown(self) -> str:
        """Return a table, with what its columns mean."""
        rows = self.rows()
        columns = [name for name in SHOWN if rows[0].get(name) is not None]
        headings = ["encoder", "eps", *(SHOWN[name] for name in columns)]
        cells = [
            [row["name"], row["eps_text"], *(_number(row[name]) for name in columns)]
            for row in rows
        ]
        clean = _shifts(self.clean_shift)
        return (
            f"# Before and after\n\n{markdown.table(headings, cells)}\n\n"
            f"{self.before[0].label}, and the other radii. Cosine shift: the most by "
            "which the attacks found can move the cosine of an image with any "
            "direction, such as a zero-shot score. From before to after that of clean "
            f"images moved by at most {_number(clean['shift_q50'])} (median), "
            f"{_number(clean['shift_q90'])} (90 % of the images).\n"
        )

    def figure(self) -> Figure:
        """Draw quality over eps, before and after.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        figure = canvas.new_figure(7.5, 3.0)
        for column, name in enumerate(
            ("val_nearest_neighbor_top1", "val_cosine_drift")
        ):
            axes = canvas.plain_axes(figure, (0.08 + 0.5 * column, 0.18, 0.38, 0.68))
            for index, (title, reports) in enumerate(
                (("before", self.before), ("after", self.after))
            ):
                color, marker = canvas.look(index)
                radii = [255 * report.threat_model.eps for report in reports]
                values = [float(report.row()[name]) for report in reports]
                axes.plot(radii, values, color=color, marker=marker, label=title)
            axes.set_title(SHOWN[name], fontsize=10, loc="left", color=canvas.INK)
            axes.set_xlabel("eps, in 1/255", fontsize=8, color=canvas.MUTED)
            axes.set_ylim(bottom=0)
            if column == 0:
                axes.legend(frameon=False, fontsize=8)
        return figure


def before_and_after(
    before: nn.Module,
    after: nn.Module,
    images: Iterable[Any],
    *,
    radii: Sequence[float] = RADII,
    **options: Any,
) -> BeforeAfter:
    """Attack two encoders with the same images and the same noise.

    Args:
        before: Maps images in [0, 1] to features (B, D).
        after: The same.
        images: Batches, which can be iterated several times.
        radii: L-inf radii of the attacks.
        **options: As for `evaluate_encoder`, such as `steps` and `bank`.

    Raises:
        ValueError: If there is no radius, or as of `evaluate_encoder`.

    Examples:
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
        >>> images = [torch.rand(4, 3, 2, 2)]
        >>> found = before_and_after(encoder, encoder, images, radii=[0.1], steps=2)
        >>> [row["name"] for row in found.rows()], float(found.clean_shift.max())
        (['before', 'after'], 0.0)
    """
    if not radii:
        raise ValueError("radii is empty; expected at least one, such as 4 / 255.")
    batches = list(images)

    def measured(encoder: nn.Module) -> list[EncoderReport]:
        return [
            evaluate_encoder(encoder, batches, ThreatModel(eps=eps), **options)
            for eps in radii
        ]

    return BeforeAfter(
        measured(before), measured(after), _clean_shift(before, after, batches)
    )


def _clean_shift(before: nn.Module, after: nn.Module, batches: Sequence[Any]) -> Tensor:
    found = []
    with torch.no_grad(), modes.evaluation_mode(before), modes.evaluation_mode(after):
        for batch in batches:
            images = batch[0] if isinstance(batch, list | tuple) else batch
            found.append(cosine_shift(before(images), after(images)))
    return torch.cat(found)


def _shifts(values: Tensor) -> dict[str, float]:
    points = torch.tensor([0.5, 0.9], dtype=torch.double)
    median, high = values.double().cpu().quantile(points).tolist()
    return {"shift_q50": median, "shift_q90": high}


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 2 else f"{value:.3f}"
