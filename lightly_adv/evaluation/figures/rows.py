"""Rows of results for figures; rows of the same name are its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def by_name(rows: Sequence[Row], *, needs: Sequence[str]) -> dict[str, list[Row]]:
    """Group rows by name, in the order in which the names appear.

    Args:
        rows: What `RobustnessReport.row` returns, or the `rows` of result files.
        needs: Keys that every row must have, besides its name.

    Raises:
        ValueError: If there is no row, or if one lacks a key.

    Examples:
        >>> rows = [{"name": "a", "eps": 0}, {"name": "b", "eps": 0}]
        >>> {name: len(group) for name, group in by_name(rows, needs=["eps"]).items()}
        {'a': 1, 'b': 1}
    """
    if not rows:
        raise ValueError("rows is empty; expected at least one result to draw.")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        missing = [key for key in ("name", *needs) if key not in row]
        if missing:
            raise ValueError(
                f"a row lacks {missing}: it has {sorted(row)}. Take rows from "
                "RobustnessReport.row(), or from the rows of a result file."
            )
        groups.setdefault(str(row["name"]), []).append(row)
    return groups


def shared(rows: Sequence[Row], key: str) -> str | None:
    """Return the value that all rows have for a key; None if none has the key.

    Raises:
        ValueError: If rows differ: numbers of two suites are not comparable.
    """
    values = {str(row[key]) for row in rows if key in row}
    if len(values) > 1:
        raise ValueError(
            f"the rows have different values of {key}: {sorted(values)}; such numbers "
            "are not comparable, so draw one figure for each."
        )
    return values.pop() if values else None
