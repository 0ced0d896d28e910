"""Exceptions as checks that failed: what was raised, and by which line of code."""

from __future__ import annotations

import site
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

from lightly_adv.doctor import hardware, targets
from lightly_adv.evaluation.checks.check import Check

OWN = str(Path(__file__).parents[1])
"""The folder of this package."""

LONGEST = 400
"""Characters that are shown of a message of others."""


def failure(name: str, error: BaseException) -> Check:
    """Return an exception as a check that failed.

    Messages of this package say what to do and come as they are. Others come with
    their type and with the line of the user's code that they passed last. All calls of
    torch pass `targets` and `hardware`, which are neither.
    """
    text = " ".join(str(error).split())
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if each.filename not in (targets.__file__, hardware.__file__)
    ]
    if not (frames and frames[-1].filename.startswith(OWN)):
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}..."
        text = f"{type(error).__name__}: {text}{_place(frames)}"
    lines = "".join(traceback.format_exception(error))
    return Check(name, "FAIL", text, traceback=lines)


def _place(frames: Sequence[traceback.FrameSummary]) -> str:
    """Name the innermost line that belongs to neither us nor an installed package."""
    theirs = [each for each in frames if not each.filename.startswith(_INSTALLED)]
    if not theirs:
        return ""
    last = theirs[-1]
    return f" (raised in {last.name}, {Path(last.filename).name}:{last.lineno})"


_INSTALLED = (
    OWN,
    "<",
    sysconfig.get_path("stdlib"),
    *{sysconfig.get_path("purelib"), sysconfig.get_path("platlib")},
    *site.getsitepackages(),
)
"""Where code lies that the user did not write."""
