"""The result card of one evaluation, and the three files it is written to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightly_adv import files
from lightly_adv.evaluation import breakdown, suites
from lightly_adv.evaluation.card import curves as curve
from lightly_adv.evaluation.card import examples as example
from lightly_adv.evaluation.card import page
from lightly_adv.evaluation.card.curves import Curves
from lightly_adv.evaluation.card.examples import Example
from lightly_adv.evaluation.rendering import render
from lightly_adv.evaluation.robustness_report import RobustnessReport
from lightly_adv.evaluation.suites import Suite

MOST_CLASSES = 100
"""Largest number of classes for which there is a confusion matrix."""

ENDINGS = (".html", ".md", ".json")
"""Endings of the files of a card, in the order in which they are written."""


@dataclass(frozen=True, eq=False)
class ResultCard:
    """One evaluation as JSON, as Markdown and as one self-contained HTML file.

    Args:
        report: The report of the evaluation.
        name: Name of the model.
        class_names: Names of the classes. Defaults to their numbers.
        curves: Robust accuracy over radius and steps, if it was measured.
        examples: Images to show, if there are any.
        facts: Further facts, ready for JSON, such as the digest of a checkpoint.

    Examples:
        >>> from lightly_adv import ThreatModel
        >>> flags = {"clean": torch.tensor([True]), "pgd": torch.tensor([False])}
        >>> report = RobustnessReport(
        ...     suite="pgd-20", threat_model=ThreatModel(eps=8 / 255), flags=flags
        ... )
        >>> card = ResultCard(report, name="mine")
        >>> print(card.to_markdown().splitlines()[0])
        # mine
    """

    report: RobustnessReport
    name: str = "model"
    class_names: Sequence[str] | None = None
    curves: Curves | None = None
    examples: Sequence[Example] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the images, ready for JSON."""
        content: dict[str, Any] = json.loads(self.report.to_json(name=self.name))
        content["label"] = self.report.label
        content["class_names"] = self.class_names and list(self.class_names)
        content.update(self._confusion())
        content["curves"] = self.curves and self.curves.to_dict()
        content["examples"] = [each.to_dict() for each in self.examples]
        return {**content, **self.facts}

    def to_json(self) -> str:
        """Return all but the images as JSON."""
        # One line for each entry: a list of flags over a thousand lines reads badly.
        entries = (
            f"  {json.dumps(key)}: {json.dumps(value)}"
            for key, value in self.to_dict().items()
        )
        return "{\n" + ",\n".join(entries) + "\n}\n"

    def to_markdown(self) -> str:
        """Return everything but the images as Markdown, for a README."""
        return render("card.md.j2", **page.content(self))

    def to_html(self) -> str:
        """Return one self-contained HTML page, which loads nothing else."""
        examples = [page.shown(each, self.class_names) for each in self.examples]
        return render("card.html.j2", **page.content(self), examples=examples)

    def write(self, path: str | os.PathLike[str]) -> list[Path]:
        """Write `<path>.html`, `<path>.md` and `<path>.json`; return their paths.

        The JSON file comes last: where it exists, the others do, too.

        Args:
            path: Path without an ending. Missing folders are made.
        """
        texts = (self.to_html(), self.to_markdown(), self.to_json())
        found = paths(path)
        found[0].parent.mkdir(parents=True, exist_ok=True)
        for each, text in zip(found, texts, strict=True):
            files.replace(each, text)
        return found

    def _confusion(self) -> dict[str, Any]:
        """Return true against predicted classes under attack, where they are known."""
        labels, predictions = self.report.labels, self.report.predictions
        if labels is None or "attacked" not in predictions:
            return {}
        found = predictions["attacked"]
        seen = 1 + int(max(labels.max(), found.max()))
        classes = max(seen, len(self.class_names or ()))
        pairs = breakdown.confused(labels, found)
        if classes > MOST_CLASSES:
            return {"confused": pairs}
        matrix = breakdown.confusion(labels, found, classes=classes)
        return {"confused": pairs, "confusion": matrix}


def paths(path: str | os.PathLike[str]) -> list[Path]:
    """Return the paths of the files of a card.

    Examples:
        >>> [each.name for each in paths("runs/mine 8.255")]
        ['mine 8.255.html', 'mine 8.255.md', 'mine 8.255.json']
    """
    return [Path(f"{os.fspath(path)}{ending}") for ending in ENDINGS]


def make_card(
    model: nn.Module,
    loader: Iterable[Any],
    report: RobustnessReport,
    *,
    suite: str | Suite,
    name: str = "model",
    class_names: Sequence[str] | None = None,
    curve_samples: int = 128,
    example_count: int = 8,
    device: str | torch.device | None = None,
    progress: bool = False,
    state: str | os.PathLike[str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> ResultCard:
    """Measure what a card shows besides the report.

    Args:
        model: The model that was evaluated.
        loader: The batches that the report is about, in the same order.
        report: The report of the evaluation.
        suite: The suite that was run; a name, or a `Suite`.
        name: Name of the model.
        class_names: Names of the classes. Defaults to their numbers.
        curve_samples: On how many images to measure curves over radius and steps;
            0 leaves them out.
        example_count: How many images to show; 0 shows none.
        device: Where to attack. Defaults to the device of the model.
        progress: Show progress bars.
        state: Prefix of the paths of the state files, for resuming.
        facts: Further facts, ready for JSON.

    Examples:
        >>> from lightly_adv import ThreatModel
        >>> from lightly_adv.evaluation import create_suite, evaluate_robustness
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 5)]
        >>> suite = create_suite("smoke")
        >>> report = evaluate_robustness(model, batches, ThreatModel(), suite=suite)
        >>> card = make_card(model, batches, report, suite=suite, curve_samples=4)
        >>> card.curves.num_samples, len(card.examples)
        (4, 8)
    """
    measured: Curves | None = None
    if curve_samples > 0 and report.threat_model.eps > 0:
        measured = curve.measure_curves(
            model,
            loader,
            report.threat_model,
            max_samples=min(curve_samples, report.num_samples),
            device=device,
            seed=report.seed,
            progress=progress,
            state=state,
        )
    shown: list[Example] = []
    if example_count > 0:
        shown = example.attack_again(
            model,
            loader,
            report,
            suites.resolve(suite),
            count=example_count,
            device=device,
        )
    return ResultCard(report, name, class_names, measured, shown, facts or {})
