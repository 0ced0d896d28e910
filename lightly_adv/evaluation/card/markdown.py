"""A card as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from lightly_adv.evaluation.card import view
from lightly_adv.evaluation.card.view import Content
from lightly_adv.markdown import plain, table


def render(content: Content) -> str:
    """Return what a card holds, but for its images, as Markdown.

    Args:
        content: As from `ResultCard.to_dict`.
    """
    (row,) = content["rows"]
    parts = [
        f"# {plain(row['name'])}",
        plain(content["label"]),
        _headline(content),
        _list("Read these numbers with care", content["warnings"]),
        _list("Notes", content["notes"]),
        _checks(content),
        _attacks(content),
        _curves(content),
        _classes(content),
        _confused(content),
        _settings(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(content: Content) -> str:
    rows = [
        (f"{side} accuracy", view.accuracy(*found))
        for side, found in view.headline(content).items()
    ]
    return table(("", "% [95 % interval]"), rows)


def _list(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return "\n".join([f"## {heading}\n", *(f"- {plain(line)}" for line in lines)])


def _checks(content: Content) -> str:
    rows = [
        (each["name"], each["status"], each["message"], each["remedy"])
        for each in content.get("checks", ())
    ]
    return _section("Checks", ("check", "", "finding", "what to do"), rows)


def _attacks(content: Content) -> str:
    found = view.attacks(content)
    rows = [tuple(row.values()) for row in found]
    return _section("Attacks", list(found[0]) if found else [], rows)


def _curves(content: Content) -> str:
    found = content["curves"]
    if not found:
        return ""
    eps, steps = (
        [
            (str(each[key]), view.accuracy(each["robust_accuracy"], each["interval"]))
            for each in found[axis]
        ]
        for axis, key in (("eps", "eps_text"), ("steps", "steps"))
    )
    return "\n\n".join(
        [
            "## Radius and steps",
            view.curve_costs(content),
            table(("eps", "robust accuracy (%)"), eps),
            table(("steps", "robust accuracy (%)"), steps),
        ]
    )


def _classes(content: Content) -> str:
    rows = [
        (row["name"], f"{row['num_samples']:,}", row["clean"], row["robust"])
        for row in view.classes(content)
    ]
    return _section("Classes", ("class", "images", "clean (%)", "robust (%)"), rows)


def _confused(content: Content) -> str:
    rows = [(label, found, str(n)) for label, found, n in view.confused(content)]
    return _section(
        "Most often confused under attack", ("class", "taken for", "images"), rows
    )


def _settings(content: Content) -> str:
    rows = list(view.settings(content).items())
    return _section("Settings", ("setting", "value"), rows)


def _section(
    heading: str, headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    return f"## {heading}\n\n{table(headings, rows)}" if rows else ""
