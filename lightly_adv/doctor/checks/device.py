"""Is this the machine that the Trainer asks for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightly_adv.doctor import hardware
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check

NAME = "device"

_ASKED = ("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins")


def device(probe: Probe) -> Iterator[Check]:
    """Say that the examination takes place on the CPU, where it was to be elsewhere."""
    missing = hardware.missing(probe.options)
    if not missing:
        return
    asked = ", ".join(
        f"{name}={_shown(probe.options[name])}"
        for name in _ASKED
        if probe.options.get(name) is not None
    )
    yield Check(
        NAME,
        "WARN",
        f"there is no {missing} on this machine, so one process on the CPU in "
        f"{probe.precision} stands in for Trainer({asked}).",
        "What is said of images, loss and gradient holds there, too; examine once "
        "more on the machine that trains for precision and cost.",
    )


def _shown(value: Any) -> str:
    """Write a value as in code, and objects by their class."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value) if isinstance(value, str | int) else type(value).__name__
