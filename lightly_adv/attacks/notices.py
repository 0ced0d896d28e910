"""What an attack has to say, which is not repeated for each of many batches."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from lightly_adv.functional.value_range import Excess
from lightly_adv.threat_model import ThreatModel

CLAMP = (
    "To have them attacked, clamp the images in the transform, or give the ThreatModel "
    "wider bounds=. If nothing in the transform does that, normalize= may have another "
    "mean and std than the transform; the doctor tells."
)
"""What to do about pixels that overshoot."""

_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)

_BETWEEN = ("lightly_adv", "contextlib", "torch")
"""Packages whose lines a warning does not point at."""


@contextmanager
def once(said: set[str]) -> Iterator[None]:
    """Leave out what has been said before, and note what is said inside.

    Args:
        said: What has been said; whoever attacks many batches keeps it.

    Examples:
        >>> said: set[str] = set()
        >>> with warnings.catch_warnings(record=True) as seen, once(said):
        ...     warnings.simplefilter("always")
        ...     for _ in range(2):
        ...         say("late", "it is late")
        >>> len(seen)
        1
    """
    token = _SAID.set(said)
    try:
        yield
    finally:
        _SAID.reset(token)


def say(kind: str, text: str) -> None:
    """Warn, unless `once` knows that a warning of this kind was given.

    The warning points at the line that called the attack, or the Trainer: the first
    one outside of this package.

    Args:
        kind: What it is about.
        text: The warning.
    """
    said = _SAID.get()
    if said is not None:
        if kind in said:
            return
        said.add(kind)
    warnings.warn(text, stacklevel=lines_to_the_caller())


def overshoot(threat_model: ThreatModel, excess: Excess) -> str:
    """Say which pixels lie a little outside of the bounds, and what becomes of them."""
    return (
        f"{100 * excess.share:.2g} % of the pixels overshoot the bounds "
        f"{threat_model.bounds}: the views span "
        f"[{excess.low:.4g}, {excess.high:.4g}], as after bicubic resizing of float "
        "images, noise or jitter. These pixels stay where they are."
    )


def say_overshoot(threat_model: ThreatModel, excess: Excess) -> None:
    """Warn of pixels a little outside of the bounds."""
    say("overshoot", f"{overshoot(threat_model, excess)} {CLAMP}")


def say_unused(views: Sequence[int]) -> None:
    """Warn of views that receive no gradient.

    Args:
        views: Their numbers.
    """
    say(
        f"unused {views}",
        f"the objective does not depend on the views {views}; they are left clean. "
        "Select the others to be rid of this message.",
    )


def lines_to_the_caller() -> int:
    """Return the `stacklevel` of a warning that points out of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] not in _BETWEEN:
            break
        level, frame = level + 1, frame.f_back
    return level
