"""Are there images, and are they real ones?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.training.outputs import names_of
from lightly_adv.training.step_objective import Selection

NAME = "data"


def data(probe: Probe) -> Iterator[Check]:
    """Tell which tensors of the batch are images; fail if there are none."""
    selected = probe.selected
    seen = _described(selected.images)
    if probe.full_size is not None:
        seen += f" (the first of {probe.full_size}; all of them would take too long)"
    if probe.random_data:
        yield Check(
            NAME,
            "WARN",
            f"no data were given; the images are random: {seen}{_structure(probe)}. "
            "What is said of images and labels holds for these.",
            "Give the data that you train on.",
        )
        return
    if len(selected.views) < len(selected.images):
        numbers = places(selected)
        seen += f"; attacked: {', '.join(map(str, numbers))}"
    names = names_of(probe.training.views)
    where = "the batch has" if names is None else f"{' and '.join(names)} put out"
    yield Check(NAME, "PASS", f"{where} {seen}.")


def _structure(probe: Probe) -> str:
    return f", in a batch {probe.structure}" if probe.structure else ""


def places(selected: Selection) -> list[int]:
    """Return the numbers of the attacked views among all image views."""
    numbers = {id(view): at for at, view in enumerate(selected.images)}
    return [numbers[id(view)] for view in selected.views]


def named(numbers: Sequence[int]) -> str:
    """Name views by their numbers.

    Examples:
        >>> named([0]), named([1, 2])
        ('view 0', 'views 1, 2')
    """
    plural = "s" if len(numbers) > 1 else ""
    return f"view{plural} {', '.join(map(str, numbers))}"


def _described(views: Sequence[Tensor]) -> str:
    shapes: dict[str, list[int]] = {}
    for at, view in enumerate(views):
        shapes.setdefault(" x ".join(map(str, view.shape)), []).append(at)
    return "; ".join(f"{named(at)} of {shape}" for shape, at in shapes.items())
