"""From what the seeds found to a table, JSON, figures and a page."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from lightly_adv.cli.demo.settings import ADVERSARIAL, NAMES, SCRATCH, Settings
from lightly_adv.cli.run_folder import write_json
from lightly_adv.evaluation import figures, formatting
from lightly_adv.evaluation.html import write_report
from lightly_adv.versions import versions

Found = Mapping[int, Mapping[str, Mapping[str, Any]]]
Row = dict[str, Any]

COLUMNS = {
    "name": "name",
    "clean_accuracy": "clean %",
    "robust_accuracy": "robust %",
    "epochs_to_scratch_best": "epochs",
    "seconds": "seconds",
}
"""Columns of the table, and their headings."""

NOTE = """\
clean, robust: accuracy on test images after the last epoch, mean of the seeds.
epochs: of fine-tuning until the best robust accuracy of scratch is reached, on
validation images; '-' if not by every seed. Pre-training is not counted there,
but in the seconds. Few seeds decide this: a difference of a few points between two
rows, or of a few epochs, may be chance."""

EPS_NOTE = (
    "The radius of the attack was chosen on validation images, so that training from "
    "scratch neither fails nor is perfect."
)

AVERAGED = ("clean_accuracy", "robust_accuracy", "seconds")


def check_installed() -> None:
    """Say at once what would be missing at the end.

    Raises:
        ImportError: If scikit-learn or matplotlib is not installed.
    """
    for module, name in (("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")):
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f"the demo needs {name}: pip install lightly-adv[demo,plot]"
            )


def write(out: Path, found: Found, settings: Settings, *, seconds: float) -> list[Row]:
    """Write report.json, report.html and the figures; return the rows.

    Args:
        out: The folder.
        found: Results by seed and arm.
        settings: What they were made with.
        seconds: How long it took.
    """
    rows = summarise(found)
    drawn = {
        caption: figures.save(figure, out / file)
        for caption, (file, figure) in _draw(found, settings).items()
    }
    content = {
        "rows": rows,
        "curve": [
            row for arms in found.values() for a in arms.values() for row in a["curve"]
        ],
        "settings": dataclasses.asdict(settings),
        "seconds": round(seconds, 1),
        "versions": versions(),
        "notes": [NOTE.replace("\n", " "), EPS_NOTE],
    }
    write_json(out / "report.json", content)
    write_report(
        out / "report.html",
        title="lightly-adv demo: three ways to a robust classifier of digits",
        rows=[{key: row[key] for key in COLUMNS} for row in rows],
        figures={caption: path.read_bytes() for caption, path in drawn.items()},
        settings=dataclasses.asdict(settings)
        | {"eps": formatting.fraction(settings.eps), "seeds": list(found)},
        warnings=_warnings(found),
        summary=f"{EPS_NOTE} {NOTE}",
    )
    return rows


def summarise(found: Found) -> list[Row]:
    """Return one row per arm: means over the seeds, and the values of each."""
    return [_row(arm, found) for arm in NAMES]


def epochs_to_reach(history: Sequence[float], target: float) -> int | None:
    """Return after how many epochs a value was reached for the first time.

    Examples:
        >>> epochs_to_reach([10.0, 30.0, 20.0], 25.0), epochs_to_reach([10.0], 25.0)
        (2, None)
    """
    return next((n for n, value in enumerate(history, 1) if value >= target), None)


def _row(arm: str, found: Found) -> Row:
    seeds = {seed: _of_seed(arms[arm], arms[SCRATCH]) for seed, arms in found.items()}
    epochs = [each["epochs_to_scratch_best"] for each in seeds.values()]
    return {
        "name": NAMES[arm],
        **{key: fmean(each[key] for each in seeds.values()) for key in AVERAGED},
        "epochs_to_scratch_best": None if None in epochs else fmean(epochs),
        "seeds": {str(seed): each for seed, each in seeds.items()},
    }


def _of_seed(result: Mapping[str, Any], scratch: Mapping[str, Any]) -> Row:
    history = result["val_robust_accuracy"]
    left_out = ("images", "curve", "name")
    return {
        **{key: value for key, value in result.items() if key not in left_out},
        "epochs_to_scratch_best": epochs_to_reach(
            history, max(scratch["val_robust_accuracy"])
        ),
        "seconds": result["pretraining_seconds"] + result["fine_tuning_seconds"],
    }


def _draw(found: Found, settings: Settings) -> dict[str, tuple[str, Any]]:
    """Return file name and figure, by caption."""
    every = [result for arms in found.values() for result in arms.values()]
    curve = [row for result in every for row in result["curve"]]
    first = next(iter(found.values()))[ADVERSARIAL]["images"]
    images = {name: torch.from_numpy(array) for name, array in first.items()}
    grid = figures.image_grid(
        images["clean"],
        images["adversarial"],
        labels=images["labels"],
        clean_predictions=images["before"],
        adversarial_predictions=images["after"],
    )
    eps = formatting.fraction(settings.eps)
    return {
        f"Clean and robust accuracy at eps = {eps}": (
            "accuracy.png",
            figures.accuracy_scatter(every),
        ),
        "Robust accuracy at other radii": (
            "curves.png",
            figures.robustness_curves(curve),
        ),
        f"The first test image of every digit: clean, the perturbation found for "
        f"{NAMES[ADVERSARIAL]}, and perturbed; above each what it is taken for, red if "
        "that is wrong": ("images.png", grid),
    }


def _warnings(found: Found) -> list[str]:
    """Return the warnings of all evaluations, each once."""
    every = (result for arms in found.values() for result in arms.values())
    return list(dict.fromkeys(text for result in every for text in result["warnings"]))
