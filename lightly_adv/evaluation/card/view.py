"""What Markdown and HTML have in common: tables out of the content of a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightly_adv.evaluation import formatting

Content = Mapping[str, Any]


def accuracy(value: float, interval: list[float]) -> str:
    """Write an accuracy and its interval, in percent.

    Examples:
        >>> accuracy(45.0, [42.04, 48.0])
        '45.0 [42.0, 48.0]'
    """
    low, high = interval
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def class_name(content: Content, number: int) -> str:
    """Return the name of a class, or its number."""
    names = content["class_names"]
    return str(names[number]) if names else str(number)


def headline(content: Content) -> dict[str, tuple[float, list[float]]]:
    """Return clean and robust accuracy, each with its interval."""
    (row,) = content["rows"]
    spans = content["intervals"]
    worst = content["attack_order"][-1]
    return {
        "clean": (row["clean_accuracy"], spans["clean"]),
        "robust": (row["robust_accuracy"], spans[worst]),
    }


def attacks(content: Content) -> list[dict[str, str]]:
    """Return a row for each attack: what it ran with, and what it left standing."""
    rows = []
    before = sum(content["flags"]["clean"])
    for name in content["attack_order"][1:]:
        flags = content["flags"][name]
        settings = content["attacks"].get(name, {})
        after = sum(flags)
        value = 100 * after / len(flags)
        rows.append(
            {
                "attack": name,
                "standing (%)": accuracy(value, content["intervals"][name]),
                "broken": str(before - after),
                "steps": str(settings.get("steps", "")),
                "restarts": str(settings.get("restarts", "")),
                "step size": _step_size(settings),
                "type": settings.get("type", ""),
            }
        )
        before = after
    return rows


def classes(content: Content) -> list[dict[str, Any]]:
    """Return a row for each class, the least robust first."""
    rows = [
        {
            **row,
            "name": class_name(content, row["class"]),
            "clean": accuracy(row["clean_accuracy"], row["clean_interval"]),
            "robust": accuracy(row["robust_accuracy"], row["robust_interval"]),
        }
        for row in content.get("per_class", ())
    ]
    return sorted(rows, key=lambda row: row["robust_accuracy"])


def confused(content: Content) -> list[tuple[str, str, int]]:
    """Return which classes are taken for which under attack, and how often."""
    return [
        (class_name(content, label), class_name(content, found), count)
        for label, found, count in content.get("confused", ())
    ]


def settings(content: Content) -> dict[str, str]:
    """Return what the numbers were made with."""
    (row,) = content["rows"]
    allowed = content["threat_model"]
    found = {
        "threat model": f"{allowed['norm']}, eps = {allowed['eps_text']} "
        f"(pixels in {allowed['bounds'][0]:g} to {allowed['bounds'][1]:g})",
        "normalisation": _normalize(allowed["normalize"]),
        "suite": row["suite"],
        "images": _images(content),
        "seed": str(content["seed"]),
        "batch size": str(content["batch_size"] or "not known"),
        "device": content["device"] or "not known",
        "data digest": content["data"]["digest"] or "not known",
    }
    for path, digest in content.get("checkpoint_sha256", {}).items():
        found[f"SHA-256 of {path}"] = digest
    for path, digest in content.get("surrogate_sha256", {}).items():
        found[f"SHA-256 of the surrogate {path}"] = digest
    for name, version in content["versions"].items():
        found[name] = version or "not installed"
    return found


def curve_costs(content: Content) -> str:
    """Tell what the curves are of and what they cost."""
    found = content["curves"]
    return (
        f"PGD with steps of eps / 4 and a random start, on {found['num_samples']:,} "
        f"images; {found['steps_over_eps']} steps where the radius changes. This "
        f"took {found['passes']:,} passes of one image, forward and backward."
    )


def _step_size(numbers: Mapping[str, Any]) -> str:
    size = numbers.get("step_size")
    return formatting.fraction(size) if isinstance(size, float) else ""


def _normalize(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "none: images come as pixels"
    return f"mean {found['mean']}, std {found['std']}"


def _images(content: Content) -> str:
    count = f"{content['data']['num_samples']:,}"
    return f"{count}, {content['order']}" if content.get("order") else count
