"""The card of an exported network: what it is, what it needs, how robust it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lightly_adv import json_files
from lightly_adv.json_files import Need
from lightly_adv.markdown import plain, table, templates
from lightly_adv.models.export import folder
from lightly_adv.models.stems import default_cfgs


def text(
    title: str,
    config: Mapping[str, Any],
    network: nn.Module,
    *,
    reports: Sequence[Mapping[str, Any]],
    facts: Mapping[str, str],
) -> str:
    """Return a card in Markdown, headed as model hubs want it.

    Args:
        title: Name of the network.
        config: Its configuration, see `folder.configuration`.
        network: The network.
        reports: What `to_json` of reports of evaluations gave, read from JSON.
        facts: Where it comes from; name and text of each line.

    Raises:
        ValueError: If a report has no rows with accuracies.
    """
    page = (
        templates("lightly_adv.models.export")
        .get_template("card.md.j2")
        .render(
            title=title,
            names=", ".join(map(plain, config.get("label_names", ()))),
            config=config,
            parameters=f"{sum(each.numel() for each in network.parameters()):,}",
            normalize=folder.normalization(config),
            # Only what this package registers is unknown to timm without it.
            registered_here=config["architecture"] in default_cfgs,
            table=table(_HEADINGS, map(_row, reports)),
            reports=reports,
            facts=facts,
        )
    )
    return f"{page.rstrip()}\n"


def _row(report: Mapping[str, Any]) -> list[str]:
    json_files.check(report, NEEDS, path="a report for the card", **MESSAGE)
    (row,) = report["rows"]
    numbers = [f"{row[key]:.1f}" for key in _ACCURACIES]
    spans = report.get("intervals") or {}
    if spans and "eps_text" in row:
        # Of "clean" and of each attack; the lowest is the worst case.
        ends = (spans["clean"], min(spans.values()))
        numbers = [
            f"{number} ({low:.1f} to {high:.1f})"
            for number, (low, high) in zip(numbers, ends, strict=True)
        ]
    # Unforeseen attacks and corruptions have no ball; their suite says what they have.
    ball = f"{row['norm']} {row['eps_text']}" if "eps_text" in row else "-"
    return [row.get("suite", "-"), ball, f"{row.get('num_samples', '-')}", *numbers]


def _are_rows(part: Any) -> bool:
    return json_files.is_list(part, _is_row, length=1)


def _is_row(part: Any) -> bool:
    if not json_files.has(part, *_ACCURACIES):
        return False
    numbers = all(json_files.is_number(part[key]) for key in _ACCURACIES)
    words = ("suite", "norm", "eps_text")
    texts = all(json_files.is_text(part[key]) for key in words if key in part)
    return numbers and texts and ("eps_text" not in part or "norm" in part)


def _are_spans(part: Any) -> bool:
    if not part:
        return part in (None, {})
    return json_files.has(part, "clean") and all(
        json_files.is_list(ends, json_files.is_number, length=2)
        for ends in part.values()
    )


def _are_lines(part: Any) -> bool:
    return part is None or json_files.is_list(part, json_files.is_text)


_ACCURACIES = ("clean_accuracy", "robust_accuracy")
_HEADINGS = ("suite", "threat model", "images", "clean % (95 %)", "robust % (95 %)")

NEEDS = {
    "rows": Need(_are_rows, "one row with clean_accuracy and robust_accuracy"),
    "intervals": Need(_are_spans, "two ends for clean and each attack"),
    "warnings": Need(_are_lines, "a list of texts"),
    "notes": Need(_are_lines, "a list of texts"),
}
"""The parts of a report that a card shows."""

MESSAGE = {
    "what": "a report",
    "remedy": "Give what lightly-adv evaluate, unforeseen or corruptions has written.",
}
"""Message for other files, see `json_files.check`."""
