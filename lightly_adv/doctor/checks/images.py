"""Check whether images are normalised as the threat model says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from torch import Tensor

from lightly_adv.attacks import notices
from lightly_adv.doctor import image_values, normalizations
from lightly_adv.doctor.checks.named import Result, named
from lightly_adv.doctor.checks.named import views as numbered
from lightly_adv.doctor.image_values import Fit, Values
from lightly_adv.doctor.normalizations import Candidate
from lightly_adv.doctor.probe import Probe
from lightly_adv.errors import UnfitBatchError
from lightly_adv.evaluation.checks.check import Status
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats

CLOSE = 0.005
"""How much of [0, 1] images leave empty at each end, if they fill it."""

STEP_OFF = 0.01
"""How far the step between neighbouring values may be from 1/255, as a share of it."""

NEAR = (0.55, 1.9)
"""Steps in units of 1/255 that are taken for those of 8 bits and a wrong std."""

Problem: TypeAlias = tuple[Status, str, str]
"""Status, message and remedy."""


@named
def images(probe: Probe) -> Iterator[Result]:
    """Undo the normalisation of every view; pixels must come out, and plausible ones.

    A problem is reported once, for all views that have it.
    """
    views, threat_model = probe.selected.images, probe.threat_model
    if threat_model.bounds != (0.0, 1.0):
        for view in views:
            threat_model.box(view)
        text = f"pixels lie in the bounds {list(threat_model.bounds)}."
        yield _overshoot(threat_model, views) or ("PASS", text)
        return
    problems = [
        _overshoot(threat_model, [view]) or _examine(view, threat_model.normalize)
        for view in views
    ]
    by_remedy: dict[str, tuple[Problem, list[int]]] = {}
    for at, problem in enumerate(problems):
        if problem is not None:
            by_remedy.setdefault(problem[2], (problem, []))[1].append(at)
    if not by_remedy:
        yield "PASS", _described(probe, views)
    for (status, text, remedy), numbers in by_remedy.values():
        which = "all views" if len(numbers) == len(views) else numbered(numbers)
        yield status, f"{which}: {text}", remedy


def _overshoot(threat_model: ThreatModel, views: Sequence[Tensor]) -> Problem | None:
    """Tell of pixels a little outside; None if there are none, or too many."""
    try:
        found = threat_model.overshoot(views)
    except UnfitBatchError:
        return None
    if found is None:
        return None
    return "WARN", notices.overshoot(threat_model, found), notices.CLAMP


def _described(probe: Probe, views: Sequence[Tensor]) -> str:
    declared = probe.threat_model.normalize
    seen = image_values.fit(image_values.values_of(views), declared)
    certain = " and are multiples of 1/255" if seen.exact else ""
    text = f"pixels span {seen}{certain}; normalisation: {_name(declared, views[0])}."
    if probe.choice.guessed and declared is not None:
        text += f" Say so to the attack: ThreatModel({_argument(declared)})."
    return text


def _examine(view: Tensor, declared: NormalizeStats | None) -> Problem | None:
    """Judge one view; views with the same problem get the same remedy."""
    values = image_values.values_of([view])
    seen = image_values.fit(values, declared)
    if seen.exact:
        return None
    likely = normalizations.best(values, declared)
    if not seen.inside:
        text = f"pixels span {seen} instead of [0, 1]{_why(likely, declared)}"
        return "FAIL", text, _remedy(likely)
    needless = normalizations.near(declared, None)
    if not needless and image_values.fit(values, None).inside:
        return (
            "FAIL",
            "they lie in [0, 1] already, as pixels do, but normalize= is "
            f"{_name(declared, view)}: the normalisation is missing.",
            "Add the normalisation to the transform, or pass "
            "ThreatModel(normalize=None).",
        )
    if likely is not None and likely.normalize != declared:
        problem = _compared(values, seen, likely)
        if problem is not None:
            return problem
    return _stepped(values, declared)


def _compared(values: Values, seen: Fit, likely: Candidate) -> Problem | None:
    """Judge images that fit, where another normalisation may fit better."""
    other = image_values.fit(values, likely.normalize)
    text = (
        f"with the given normalisation pixels span {seen} only; {likely.name} makes "
        f"it {other}"
    )
    if other.exact:
        text += " and multiples of 1/255, so it is the one that was applied."
        return "FAIL", text, _remedy(likely)
    if other.gap < CLOSE and seen.gap > 0.15:
        return "FAIL", f"{text}.", _remedy(likely)
    if other.gap < CLOSE and seen.gap > 3 * CLOSE and likely.kind != "double":
        return "WARN", f"{text}. Is it the right one?", _remedy(likely)
    return None


def _stepped(values: Values, declared: NormalizeStats | None) -> Problem | None:
    """Judge the std by the step between values of 8 bits.

    Only a step near 1/255 is judged: pixels of 4 or 6 bits have a longer one.
    """
    found = image_values.steps(values)
    stds = [1.0] * len(found) if declared is None else declared["std"]
    pairs = list(zip(found, stds, strict=True))
    lengths = [255 * step * std for step, std in pairs if step is not None]
    furthest = max(lengths, key=lambda length: abs(length - 1), default=1.0)
    off = abs(furthest - 1)
    if off <= STEP_OFF or not NEAR[0] < furthest < NEAR[1]:
        return None
    right = [round(std if step is None else 1 / (255 * step), 3) for step, std in pairs]
    return (
        "WARN" if declared is None else "FAIL",
        "they have the values of 8-bit images, but with the given normalisation these "
        f"lie {furthest:.3g}/255 apart instead of 1/255: the std is another one, and "
        f"eps is off by {100 * off:.0f} %.",
        f"Pass the mean and std of the transform; its std is {right}.",
    )


def _why(likely: Candidate | None, declared: NormalizeStats | None) -> str:
    if likely is None:
        return ", and no usual normalisation explains that."
    if likely.kind == "double":
        return f": normalised twice ({likely.name})."
    if likely.kind == "scale":
        return f": wrong scale ({likely.name})."
    if declared is None:
        return f": they are normalised, and {likely.name} fits."
    if likely.kind == "plain":
        return ": they are plain pixels, not normalised."
    return f": normalised with another mean and std; {likely.name} fits."


def _remedy(likely: Candidate | None) -> str:
    if likely is None:
        return (
            "Print the smallest and the largest value of a batch and compare with the "
            "transform; pass its mean and std as ThreatModel(normalize=...)."
        )
    if likely.kind == "double":
        return "Normalise once: take one Normalize out of the transform."
    if likely.kind == "scale":
        return (
            "Divide by 255 exactly once, for instance with "
            "v2.ToDtype(torch.float32, scale=True)."
        )
    return f"If that is meant, pass ThreatModel({_argument(likely.normalize)})."


def _argument(normalize: NormalizeStats | None) -> str:
    if normalize is None:
        return "normalize=None"
    mean, std = (
        [round(float(value), 4) for value in normalize[key]] for key in ("mean", "std")
    )
    return f"normalize={{'mean': {mean}, 'std': {std}}}"


def _name(normalize: NormalizeStats | None, view: Tensor) -> str:
    """Name a normalisation, or write it out."""
    return normalizations.name_of(normalize, view.shape[-3]) or _argument(normalize)
