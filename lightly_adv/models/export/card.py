"""The card of an exported network: what it is, what it needs, how robust it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from lightly_adv import json_files
from lightly_adv.json_files import Need
from lightly_adv.markdown import plain, table
from lightly_adv.models.export import folder
from lightly_adv.models.stems import default_cfgs

_UNKNOWN = (
    "No evaluation came with this network: how robust it is, is not known. See "
    "`lightly-adv evaluate`."
)


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
    task = (
        "image-classification" if config["num_classes"] else "image-feature-extraction"
    )
    header = [
        "---",
        "library_name: timm",
        f"pipeline_tag: {task}",
        "tags: [timm, adversarial-robustness, lightly-adv]",
        "---",
    ]
    parts = [
        "\n".join(header),
        f"# {plain(title)}",
        _what(config, network),
        "## The images it takes",
        _images(config),
        "## How to load it",
        _usage(config),
        "## How robust it is",
        *(_results(reports) if reports else [_UNKNOWN]),
    ]
    if facts:
        lines = [f"- **{plain(name)}:** {plain(fact)}" for name, fact in facts.items()]
        parts += ["## Where it comes from", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _what(config: Mapping[str, Any], network: nn.Module) -> str:
    count = sum(parameter.numel() for parameter in network.parameters())
    classes = config["num_classes"]
    kind = (
        f"A classifier of {classes} classes"
        if classes
        else f"A backbone with {config['num_features']} features"
    )
    names = ", ".join(map(plain, config.get("label_names", ())))
    listed = f" Classes, in order: {names}." if names else ""
    return f"{kind}: `{config['architecture']}` with {count:,} parameters.{listed}"


def _images(config: Mapping[str, Any]) -> str:
    channels, height, width = config["pretrained_cfg"]["input_size"]
    size = f"{height} x {width} with {channels} channels"
    found = folder.normalization(config)
    if found is None:
        return (
            f"Images of {size}, as pixels in [0, 1], without normalisation (mean 0 "
            "and std 1 in `config.json`)."
        )
    mean, std = (list(found[key]) for key in ("mean", "std"))
    return (
        f"Images of {size}, normalised: `(pixels - mean) / std` for pixels in [0, "
        f"1], with\n\n- mean `{mean}`\n- std `{std}`\n\nThe network does not do this "
        "itself. Perturbations, and eps below, are measured in pixels, before it."
    )


def _usage(config: Mapping[str, Any]) -> str:
    name = config["architecture"]
    # Only what this package registers is unknown to timm without it.
    own = f"import lightly_adv  # registers {name}\n" if name in default_cfgs else ""
    return (
        f"```python\nimport timm\n{own}\n"
        'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()\n'
        "```\n\nor with `lightly_adv`, which checks every key and brings the "
        "normalisation along:\n\n```python\n"
        "from lightly_adv.models.export import load_exported\n\n"
        'model = load_exported("FOLDER").on_pixels()\n```'
    )


def _results(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    headings = (
        "suite",
        "threat model",
        "images",
        "clean % (95 %)",
        "robust % (95 %)",
    )
    yield table(headings, map(_row, reports))
    doubts = [line for report in reports for line in _doubts(report)]
    if doubts:
        yield "\n".join(doubts)


def _doubts(report: Mapping[str, Any]) -> Iterator[str]:
    suite = plain(report["rows"][0].get("suite", "evaluation"))
    for kind in ("warning", "note"):
        for line in report.get(f"{kind}s") or ():
            yield f"- {kind} ({suite}): {plain(line)}"


def _row(report: Mapping[str, Any]) -> list[str]:
    json_files.check(report, NEEDS, path="a report for the card", **TOLD)
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

NEEDS = {
    "rows": Need(_are_rows, "one row with clean_accuracy and robust_accuracy"),
    "intervals": Need(_are_spans, "two ends for clean and each attack"),
    "warnings": Need(_are_lines, "a list of texts"),
    "notes": Need(_are_lines, "a list of texts"),
}
"""The parts of a report that a card shows."""

TOLD = {
    "what": "a report",
    "remedy": "Give what lightly-adv evaluate, unforeseen or corruptions has written.",
}
"""Message for other files, see `json_files.check`."""
