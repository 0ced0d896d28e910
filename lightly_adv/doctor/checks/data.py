"""Checks of the machine and of what a batch holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightly_adv.doctor import hardware
from lightly_adv.doctor.checks.named import Result, named, views
from lightly_adv.doctor.probe import Probe
from lightly_adv.training.outputs import names_of

_ASKED = ("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins")


@named
def device(probe: Probe) -> Iterator[Result]:
    """Warn if the Trainer asks for a device that this machine does not have."""
    missing = hardware.missing(probe.options)
    if not missing:
        return
    asked = ", ".join(
        f"{name}={_shown(probe.options[name])}"
        for name in _ASKED
        if probe.options.get(name) is not None
    )
    yield (
        "WARN",
        f"there is no {missing} on this machine, so one process on the CPU in "
        f"{probe.precision} stands in for Trainer({asked}).",
        "What is said of images, loss and gradient holds there, too; examine once "
        "more on the machine that trains for precision and cost.",
    )


@named
def data(probe: Probe) -> Iterator[Result]:
    """Tell which tensors of the batch are images; fail if there are none."""
    selected = probe.selected
    shapes: dict[str, list[int]] = {}
    for at, view in enumerate(selected.images):
        shapes.setdefault(" x ".join(map(str, view.shape)), []).append(at)
    seen = "; ".join(
        f"{views(numbers)} of {shape}" for shape, numbers in shapes.items()
    )
    if probe.full_size is not None:
        seen += f" (the first of {probe.full_size}; all of them would take too long)"
    if probe.random_images is not None:
        structure = f", in a batch {probe.structure}" if probe.structure else ""
        yield (
            "WARN",
            f"no data were given; the images are random: {seen}{structure}. "
            "What is said of images and labels holds for these.",
            "Give the data that you train on.",
        )
        return
    if len(selected.views) < len(selected.images):
        seen += f"; attacked: {', '.join(map(str, probe.attacked_numbers))}"
    names = names_of(probe.training.views)
    where = "the batch has" if names is None else f"{' and '.join(names)} put out"
    yield "PASS", f"{where} {seen}."


def _shown(value: Any) -> str:
    """Write a value as in code, and objects by their class."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value) if isinstance(value, str | int) else type(value).__name__
