"""From the results of the arms to a table, JSON, figures and a page."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lightly_adv import files
from lightly_adv.cli.demo.arms import ADVERSARIAL, ARMS, SCRATCH, Settings
from lightly_adv.cli.run_folder import write_json
from lightly_adv.evaluation import figures, formatting
from lightly_adv.evaluation.rendering import render
from lightly_adv.versions import versions

Results = Mapping[int, Mapping[str, Mapping[str, Any]]]
"""What `run_arm` returned, by seed and arm."""

Row = dict[str, Any]

COLUMNS = {
    "name": "name",
    "clean_accuracy": "clean %",
    "robust_accuracy": "robust %",
    "epochs_to_scratch_best": "epochs",
    "seconds": "seconds",
}
"""Columns of the table, and their headings."""

NOTES = (
    "clean, robust: accuracy on test images after the last epoch, mean of the seeds.",
    "epochs: epochs of fine-tuning until robust accuracy on validation images reaches "
    "the best value of training from scratch; '-' if not every seed reaches it.",
    "seconds: of training, pre-training included.",
    "There are few seeds: differences of a few points between two rows, or of a few "
    "epochs, may be chance.",
)


def write(out: Path, results: Results, settings: Settings, seconds: float) -> list[Row]:
    """Write report.json, report.html and two figures; return the rows of the table.

    Args:
        out: The folder.
        results: The results of all arms.
        settings: What they were made with.
        seconds: How long it took.
    """
    rows = [_row(arm, results) for arm in ARMS]
    runs = [run for arms in results.values() for run in arms.values()]
    curve = [point for run in runs for point in run["curve"]]
    facts = {**dataclasses.asdict(settings), "seeds": list(results)}
    content = {
        "rows": rows,
        "curve": curve,
        "settings": facts,
        "seconds": round(seconds, 1),
        "versions": versions(),
        "notes": NOTES,
    }
    write_json(out / "report.json", content)
    eps = formatting.fraction(settings.eps)
    seeds = ", ".join(map(str, results))
    drawn = {
        f"Clean and robust accuracy at eps {eps}": figures.save(
            figures.accuracy_scatter([run["row"] for run in runs]), out / "accuracy.png"
        ),
        "Robust accuracy at other radii": figures.save(
            figures.robustness_curves(curve), out / "curves.png"
        ),
    }
    text = render(
        "demo.html.j2",
        title="lightly-adv demo: three ways to a robust classifier of digits",
        lead=f"{settings.labels} labels, {settings.suite}, L-inf {eps}, seeds {seeds}",
        notes=NOTES,
        warnings=dict.fromkeys(text for run in runs for text in run["row"]["warnings"]),
        columns=COLUMNS,
        rows=rows,
        figures={
            caption: base64.b64encode(path.read_bytes()).decode("ascii")
            for caption, path in drawn.items()
        },
        shown=ARMS[ADVERSARIAL],
        examples=next(iter(results.values()))[ADVERSARIAL]["examples"],
        settings={
            **{key.replace("_", " "): value for key, value in facts.items()},
            "eps": eps,
            "seeds": seeds,
            **versions(),
        },
    )
    files.replace(out / "report.html", text)
    return rows


def epochs_to_reach(history: Sequence[float], target: float) -> int | None:
    """Return after how many epochs a value was reached for the first time.

    Examples:
        >>> epochs_to_reach([10.0, 30.0, 20.0], 25.0), epochs_to_reach([10.0], 25.0)
        (2, None)
    """
    return next((n for n, value in enumerate(history, 1) if value >= target), None)


def _row(arm: str, results: Results) -> Row:
    """Return the means over the seeds, and the rows of all of them."""
    seeds = {}
    for seed, arms in results.items():
        row, target = arms[arm]["row"], max(arms[SCRATCH]["row"]["val_robust_accuracy"])
        epochs = epochs_to_reach(row["val_robust_accuracy"], target)
        seeds[str(seed)] = {**row, "epochs_to_scratch_best": epochs}
    means = {}
    for key in list(COLUMNS)[1:]:
        values = [row[key] for row in seeds.values()]
        means[key] = None if None in values else fmean(values)
    return {"name": ARMS[arm], **means, "seeds": seeds}
