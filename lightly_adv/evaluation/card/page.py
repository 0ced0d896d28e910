"""What the Markdown and the HTML of a card show, ready for their templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from lightly_adv.evaluation import formatting, statistics
from lightly_adv.evaluation.card.examples import Example
from lightly_adv.evaluation.rendering import to_png
from lightly_adv.evaluation.robustness_report import RobustnessReport

if TYPE_CHECKING:
    from lightly_adv.evaluation.card.card import ResultCard

ATTACK_COLUMNS = (
    "attack",
    "robust (%)",
    "misled",
    "steps",
    "restarts",
    "step size",
    "type",
)

MOST_CLASSES = 25
"""How many classes are shown, the least robust ones."""

LARGEST = 160
"""Longer side, in pixels, of the images on a page; larger ones are scaled down."""


class Accuracy(NamedTuple):
    """An accuracy and its 95 % interval, in percent.

    Examples:
        >>> str(Accuracy(45.0, 42.04, 48.0))
        '45.0 [42.0, 48.0]'
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, flags: Tensor) -> Accuracy:
        """Return the share of flags that are set."""
        return cls(statistics.percent(flags), *statistics.interval(flags))

    def __str__(self) -> str:
        """Return all three with one decimal."""
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def content(card: ResultCard) -> dict[str, Any]:
    """Return what the templates show, except for the images."""
    report, facts = card.report, card.to_dict()
    names, confusion = facts["class_names"], facts.get("confusion", ())
    return {
        "title": card.name,
        "lead": report.label,
        "warnings": report.warnings,
        "notes": report.notes,
        "checks": [(c.name, c.status, c.message, c.remedy) for c in report.checks],
        "headline": {
            "clean": Accuracy.of(report.flags["clean"]),
            "robust": Accuracy.of(list(report.flags.values())[-1]),
        },
        "attack_columns": ATTACK_COLUMNS,
        "attacks": _attacks(report),
        "curves": card.curves and _curves(facts),
        "classes": _classes(facts.get("per_class", ()), names),
        "most_classes": MOST_CLASSES,
        "names": [class_name(names, each) for each in range(len(confusion))],
        "confusion": confusion,
        "confused": [
            (class_name(names, label), class_name(names, predicted), count)
            for label, predicted, count in facts.get("confused", ())
        ],
        "settings": _settings(card.report, facts),
    }


def class_name(names: Sequence[str] | None, number: int) -> str:
    """Return the name of a class, or its number."""
    return str(names[number]) if names else str(number)


def shown(example: Example, names: Sequence[str] | None) -> dict[str, Any]:
    """Return what a page shows of an example: names of classes and PNG files.

    The difference is amplified by a whole number such that it spans the range from
    black to white, around grey.
    """
    clean, attacked = _small(example.clean), _small(example.attacked)
    delta = attacked - clean
    largest = float(delta.abs().max())
    factor = max(1, round(0.5 / largest)) if largest > 0 else 1
    return {
        "label": class_name(names, example.label),
        "attack": example.attack,
        "factor": factor,
        "clean": to_png(clean),
        "clean_prediction": class_name(names, example.clean_prediction),
        "attacked": to_png(attacked),
        "attacked_prediction": class_name(names, example.attacked_prediction),
        "difference": to_png(0.5 + factor * delta),
    }


def _attacks(report: RobustnessReport) -> list[tuple[object, ...]]:
    """Return what each attack left, misled, and ran with; see `ATTACK_COLUMNS`."""
    rows: list[tuple[object, ...]] = []
    before = int(report.flags["clean"].sum())
    for name, flags in list(report.flags.items())[1:]:
        settings = report.attacks.get(name, {})
        steps, restarts, size, kind = (
            settings.get(key, "") for key in ("steps", "restarts", "step_size", "type")
        )
        robust = int(flags.sum())
        length = formatting.fraction(size) if isinstance(size, float) else ""
        rows.append(
            (name, Accuracy.of(flags), before - robust, steps, restarts, length, kind)
        )
        before = robust
    return rows


def _curves(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the points of both curves: text, accuracy, whether the suite is there."""
    curves, eps = facts["curves"], facts["threat_model"]["eps_text"]
    usual = {"eps_text": eps, "steps": curves["steps_over_eps"]}

    def points(axis: str, key: str) -> list[tuple[str, Accuracy, bool]]:
        return [
            (
                str(point[key]),
                Accuracy(point["robust_accuracy"], *point["interval"]),
                point[key] == usual[key],
            )
            for point in curves[axis]
        ]

    about = (
        f"PGD with steps of eps / 4 and a random start, on {curves['num_samples']:,} "
        f"images; {usual['steps']} steps at each radius, and eps {eps} at each number "
        f"of steps. This took {curves['passes']:,} passes of one image, forward and "
        "backward."
    )
    axes = {
        f"eps ({facts['threat_model']['norm']})": points("eps", "eps_text"),
        "steps": points("steps", "steps"),
    }
    return {"about": about, "axes": axes}


def _classes(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None
) -> list[tuple[str, str, Accuracy, Accuracy]]:
    """Return name, images, clean and robust accuracy, the least robust class first."""
    return [
        (
            class_name(names, row["class"]),
            f"{row['num_samples']:,}",
            Accuracy(row["clean_accuracy"], *row["clean_interval"]),
            Accuracy(row["robust_accuracy"], *row["robust_interval"]),
        )
        for row in sorted(rows, key=lambda row: float(row["robust_accuracy"]))
    ]


def _settings(report: RobustnessReport, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what the numbers depend on."""
    allowed = facts["threat_model"]
    low, high = allowed["bounds"]
    stats = allowed["normalize"]
    order = f", {facts['order']}" if facts.get("order") else ""
    digests = {
        f"SHA-256 of {what}{path}": digest
        for key, what in (
            ("checkpoint_sha256", ""),
            ("surrogate_sha256", "the surrogate "),
        )
        for path, digest in facts.get(key, {}).items()
    }
    return {
        "threat model": f"{allowed['norm']}, eps = {allowed['eps_text']} "
        f"(pixels from {low:g} to {high:g})",
        "normalisation": f"mean {stats['mean']}, std {stats['std']}"
        if stats
        else "none: the loader yields pixels",
        "suite": report.suite,
        "images": f"{report.num_samples:,}{order}",
        "seed": str(report.seed),
        "batch size": str(report.batch_size or "unknown"),
        "device": report.device or "unknown",
        "data digest": report.data_digest or "unknown",
        **digests,
        **{name: v or "not installed" for name, v in report.versions.items()},
    }


def _small(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(image[None], size=size, mode="area")[0]
