"""Checks, their results, and how one is run; the doctor uses them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from lightly_adv.functional import validation

Status: TypeAlias = Literal["SKIP", "PASS", "WARN", "FAIL"]
"""From harmless to severe: not checked, fine, worth a look, will go wrong."""

Context = TypeVar("Context")


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        name: Short name, such as "more steps".
        status: "PASS" where nothing is wrong, "WARN" where something deserves a look,
            "FAIL" where something is wrong, "SKIP" where it could not be checked.
        message: What was observed, in one line; for "SKIP" the reason.
        remedy: What to do about it; "" where there is nothing to do.
        values: The numbers behind it, by name, ready for JSON.
        traceback: Where an exception came from, if there was one.

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
    message: str
    remedy: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    traceback: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        """Validate the arguments."""
        validation.check_choice("status", self.status, get_args(Status))

    @property
    def warning(self) -> str:
        """The text among the warnings of a report."""
        return f"{self.name}: {self.message}. {self.remedy}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "name": self.name,
            "status": self.status,
            "message": self.message,
            "remedy": self.remedy,
            "values": dict(self.values),
        }


CheckFunction: TypeAlias = Callable[[Context], Check | Iterable[Check]]
"""Checks one thing, and returns one result or several. Its name is that of the check.

It raises `SkipError` where it cannot tell.
"""


class SkipError(Exception):
    """A check cannot be made; the message is the reason."""


def name_of(check: Callable[..., Any]) -> str:
    """Return the name of a check: that of the function, in words.

    Examples:
        >>> def zero_eps(context: object) -> Check: ...
        >>> name_of(zero_eps)
        'zero eps'
    """
    return str(getattr(check, "__name__", type(check).__name__)).replace("_", " ")


def run_check(
    check: CheckFunction[Context],
    context: Context,
    *,
    on_error: Callable[[str, BaseException], Check],
) -> Iterator[Check]:
    """Yield the results of a check; an exception becomes one, too.

    Args:
        check: The check.
        context: What it looks at.
        on_error: Makes a result of the name of the check and of what it raised, or
            raises that again.

    Examples:
        >>> def images(context: int) -> Check:
        ...     raise SkipError("there is no batch")
        >>> (check,) = run_check(images, 3, on_error=lambda name, error: None)
        >>> check.status, check.message
        ('SKIP', 'there is no batch')
    """
    name = name_of(check)
    try:
        results = check(context)
        yield from [results] if isinstance(results, Check) else results
    except SkipError as error:
        yield Check(name, "SKIP", str(error))
    except (Exception, SystemExit) as error:
        yield on_error(name, error)
