"""What the file of an evaluation holds, see `State`, and whether it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from lightly_adv import json_files
from lightly_adv.evaluation.checks.check import Status
from lightly_adv.json_files import Need, has, is_list, is_number, is_text

FORMAT = 5
"""5 calls what a check reports "message"."""


def read(path: Path) -> dict[str, Any]:
    """Return what a file holds.

    Raises:
        ValueError: If it is of another version, or if a field is not as it should be.
    """
    content = json_files.read(path, _VERSIONED, what=_WHAT, remedy=_REMEDY)
    version = content["format"]
    if version != FORMAT:
        raise ValueError(
            f"{path} has format {version}, expected {FORMAT}: another version of "
            "lightly-adv wrote it. Go on with that version, or delete the file to "
            "begin anew."
        )
    json_files.check(content, _NEEDS, path=path, what=_WHAT, remedy=_REMEDY)
    return content


def _is_whole(part: Any) -> bool:
    return isinstance(part, int) and not isinstance(part, bool)


def _is_object(part: Any) -> bool:
    return isinstance(part, dict)


def _are_batches(part: Any) -> bool:
    if not isinstance(part, dict) or not all(map(_is_entry, part.values())):
        return False
    names = {
        (*(name for name, _ in entry["flags"]), *sorted(entry["predictions"]))
        for entry in part.values()
    }
    return all(map(str.isdecimal, part)) and len(names) <= 1


def _is_entry(part: Any) -> bool:
    """Return whether something is what `State.add` writes of a batch."""
    if not has(part, "digest", "flags", "classes", "labels", "predictions"):
        return False
    flags, labels, predictions = part["flags"], part["labels"], part["predictions"]
    if not is_list(labels, _is_whole) or not _is_object(predictions):
        return False
    if not is_list(flags, lambda each: is_list(each, is_text, length=2)):
        return False
    return (
        all(
            len(marks) == len(labels) and not set(marks) - {*"01"} for _, marks in flags
        )
        and bool(flags)
        and flags[0][0] == "clean"
        and all(is_list(x, _is_whole, length=len(labels)) for x in predictions.values())
        and isinstance(part.get("probabilities"), bool)
        and is_text(part["digest"])
        and _is_whole(part["classes"])
    )


def _are_answers(part: Any) -> bool:
    return isinstance(part, dict) and all(
        rows is None
        or (
            is_list(rows, lambda row: is_list(row, is_number))
            and len({len(row) for row in rows}) <= 1
        )
        for rows in part.values()
    )


def _are_checks(part: Any) -> bool:
    if not has(part, "data", "found") or not is_text(part["data"]):
        return False
    return is_list(part["found"], _is_check)


def _is_check(part: Any) -> bool:
    words = ("name", "status", "message", "remedy")
    return (
        _is_object(part)
        and part.keys() == {*words, "values"}
        and all(is_text(part[key]) for key in words)
        and part["status"] in get_args(Status)
        and _is_object(part["values"])
        and all(map(is_number, part["values"].values()))
    )


_WHAT = "the state of an evaluation"
_REMEDY = "Delete it to begin anew, or give another file."

_VERSIONED = {
    "format": Need(_is_whole, "an integer"),
    "identity": Need(_is_object, "an object"),
}
_NEEDS = {
    "batches": Need(_are_batches, "the verdicts on each batch"),
    "answers": Need(_are_answers, "the answers of each model, or null"),
    "checks": Need(_are_checks, "data and what the checks found"),
}
"""What is read of the file, in this version."""
