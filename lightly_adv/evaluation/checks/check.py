"""What one check of an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

Status: TypeAlias = Literal["PASS", "WARN", "SKIP"]


@dataclass(frozen=True)
class Check:
    """Whether one reason to doubt a robust accuracy was found.

    Args:
        name: Short name, such as "more steps".
        status: "PASS" where nothing speaks against the number, "WARN" where something
            does, "SKIP" where it could not be told.
        figure: The numbers behind it, in one line; for "SKIP" the reason.
        remedy: What to do about a "WARN".
        values: The numbers behind it, by name, ready for JSON.

    Raises:
        ValueError: If the status is none of these.

    Examples:
        >>> check = Check("zero gradients", "WARN", "60 of 64 images", "Use logits.")
        >>> check.warning
        'zero gradients: 60 of 64 images. Use logits.'
        >>> check.to_dict()["status"]
        'WARN'
    """

    name: str
    status: Status
    figure: str
    remedy: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.status not in get_args(Status):
            raise ValueError(
                f"status={self.status!r} is unknown; expected one of "
                f"{get_args(Status)}."
            )

    @property
    def warning(self) -> str:
        """What it says among the warnings of a report."""
        return f"{self.name}: {self.figure}. {self.remedy}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "figure": self.figure,
            "remedy": self.remedy,
            "values": dict(self.values),
        }
