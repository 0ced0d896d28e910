"""Results as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from lightly_adv import files
from lightly_adv.versions import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
FIRST_COLUMNS = ("name", "clean_accuracy", "robust_accuracy")
HEADINGS = {
    "eps_text": "eps",
    "num_samples": "images",
    "epochs_to_scratch_best": "epochs",
}


class Column(NamedTuple):
    """One column of the table."""

    key: str
    heading: str
    is_text: bool
    best: float | None


def render_report(
    *,
    title: str,
    rows: Sequence[Row],
    figures: Mapping[str, Figure | bytes] | None = None,
    settings: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    summary: str = "",
) -> str:
    """Return a self-contained HTML page: figures and style are inside, no scripts.

    Args:
        title: Heading of the page.
        rows: Rows of the table, with `name`, `clean_accuracy` and `robust_accuracy`
            in percent, as from `RobustnessReport.row`. Further keys are columns, too.
        figures: Figures, or the bytes of PNG files, by caption.
        settings: What the results were made with, shown as a list.
        warnings: What casts doubt on the results, shown first.
        summary: One line below the title.

    Raises:
        ValueError: If there is no row, or if one lacks a name or an accuracy.

    Examples:
        >>> rows = [{"name": "mine", "clean_accuracy": 80.0, "robust_accuracy": 45.0}]
        >>> page = render_report(title="Digits", rows=rows, settings={"seed": 0})
        >>> "<h1>Digits</h1>" in page, "45.0" in page
        (True, True)
    """
    images = [(caption, _encode(each)) for caption, each in (figures or {}).items()]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            summary=summary,
            warnings=warnings,
            rows=rows,
            columns=_columns(rows),
            figures=images,
            settings=settings or {},
            versions=versions(),
        )
    )


def environment() -> Environment:
    """Return what the templates of this package are rendered with."""
    found = Environment(
        loader=PackageLoader("lightly_adv.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["cell"] = _cell
    return found


def write_report(path: str | Path, **content: Any) -> Path:
    """Write `render_report(**content)` to a file, and return its path.

    Args:
        path: The file. Missing folders are made.
        **content: See `render_report`.
    """
    page = render_report(**content)
    path = Path(path)
    files.replace(path, page)
    return path


def _columns(rows: Sequence[Row]) -> list[Column]:
    if not rows:
        raise ValueError("rows is empty; expected at least one result to report.")
    for row in rows:
        missing = [key for key in FIRST_COLUMNS if key not in row]
        if missing:
            raise ValueError(
                f"a row lacks {missing}: it has {sorted(row)}. Take rows from "
                "RobustnessReport.row(), or from the rows of a result file."
            )
    keys = dict.fromkeys([*FIRST_COLUMNS, *(key for row in rows for key in row)])
    if "eps_text" in keys:
        keys.pop("eps", None)
    return [_column(key, [row[key] for row in rows if key in row]) for key in keys]


def _column(key: str, values: Sequence[Any]) -> Column:
    is_accuracy = key.endswith("_accuracy")
    # Short, so that all columns fit beside each other.
    plain = key.removesuffix("_accuracy").replace("_", " ")
    heading = HEADINGS.get(key, f"{plain} %" if is_accuracy else plain)
    is_text = any(isinstance(value, str) for value in values)
    best = max(values) if is_accuracy and len(values) > 1 else None
    return Column(key, heading, is_text, best)


def _cell(value: Any) -> str:
    """Write a value as the table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return str(value)


def _encode(figure: Figure | bytes) -> str:
    if not isinstance(figure, bytes):
        from lightly_adv.evaluation import figures

        figure = figures.to_png(figure)
    return base64.b64encode(figure).decode("ascii")
