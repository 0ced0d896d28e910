"""Are the images normalised as the threat model says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from lightly_adv.attacks import attack
from lightly_adv.doctor import normalizations
from lightly_adv.doctor.checks.data import named
from lightly_adv.doctor.normalizations import Candidate, Fit, Values
from lightly_adv.doctor.probe import Probe
from lightly_adv.errors import UnfitBatchError
from lightly_adv.evaluation.checks.check import Check
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats

NAME = "images"

CLOSE = 0.005
"""How much of [0, 1] images leave empty at each end, if they fill it."""

STEP_OFF = 0.01
"""How far the step between neighbouring values may be from 1/255, as a share of it."""

NEAR = (0.55, 1.9)
"""Steps in units of 1/255 that are taken for those of 8 bits and a wrong std."""


def images(probe: Probe) -> Iterator[Check]:
    """Undo the normalisation of every view; pixels must come out, and plausible ones.

    What is wrong is said once for all views that it is wrong with.
    """
    views, threat_model = probe.selected.images, probe.threat_model
    if threat_model.bounds != (0.0, 1.0):
        for view in views:
            threat_model.box(view)
        text = f"pixels lie in the bounds {list(threat_model.bounds)}."
        yield _overshoot(threat_model, views) or Check(NAME, "PASS", text)
        return
    found = [
        _overshoot(threat_model, [view]) or _examine(view, threat_model.normalize)
        for view in views
    ]
    wrong: dict[str, list[int]] = {}
    for at, each in enumerate(found):
        if each.status != "PASS":
            wrong.setdefault(each.remedy, []).append(at)
    if not wrong:
        yield _pass(probe, views)
    for numbers in wrong.values():
        first = found[numbers[0]]
        which = "all views" if len(numbers) == len(views) else named(numbers)
        yield Check(NAME, first.status, f"{which}: {first.message}", first.remedy)


def _overshoot(threat_model: ThreatModel, views: Sequence[Tensor]) -> Check | None:
    """Tell of pixels a little outside; None if there are none, or too many."""
    try:
        found = threat_model.overshoot(views)
    except UnfitBatchError:
        return None
    if found is None:
        return None
    return Check(NAME, "WARN", attack.overshoot(threat_model, found), attack.CLAMP)


def _pass(probe: Probe, views: Sequence[Tensor]) -> Check:
    declared = probe.threat_model.normalize
    seen = normalizations.fit(normalizations.values_of(views), declared)
    how = _described(declared, views[0])
    certain = " and are multiples of 1/255" if seen.exact else ""
    text = f"pixels span {_span(seen)}{certain}; normalisation: {how}."
    if probe.choice.guessed and declared is not None:
        text += f" Say so to the attack: ThreatModel({_argument(declared)})."
    return Check(NAME, "PASS", text)


def _examine(view: Tensor, declared: NormalizeStats | None) -> Check:
    """Judge one view; views with the same problem get the same remedy."""
    values = normalizations.values_of([view])
    seen = normalizations.fit(values, declared)
    if seen.exact:
        return Check(NAME, "PASS", "")
    likely = normalizations.best(values, declared)
    if not seen.inside:
        return Check(NAME, "FAIL", _outside(seen, likely, declared), _remedy(likely))
    plain = normalizations.fit(values, None)
    if declared is not None and plain.inside and not _changes_nothing(declared):
        return Check(
            NAME,
            "FAIL",
            f"they lie in [0, 1] already, as pixels do, but normalize= is "
            f"{_described(declared, view)}: the normalisation is missing.",
            "Add the normalisation to the transform, or pass "
            "ThreatModel(normalize=None).",
        )
    if likely is not None and likely.normalize != declared:
        found = _compared(values, seen, likely)
        if found.status != "PASS":
            return found
    return _stepped(values, declared)


def _compared(values: Values, seen: Fit, likely: Candidate) -> Check:
    """Judge images that fit, where another normalisation may fit better."""
    other = normalizations.fit(values, likely.normalize)
    text = (
        f"with the given normalisation pixels span {_span(seen)} only; {likely.name} "
        f"makes it {_span(other)}"
    )
    if other.exact:
        text += " and multiples of 1/255, so it is the one that was applied."
        return Check(NAME, "FAIL", text, _remedy(likely))
    if other.gap < CLOSE and seen.gap > 0.15:
        return Check(NAME, "FAIL", f"{text}.", _remedy(likely))
    if other.gap < CLOSE and seen.gap > 3 * CLOSE and likely.kind != "double":
        return Check(NAME, "WARN", f"{text}. Is it the right one?", _remedy(likely))
    return Check(NAME, "PASS", "")


def _changes_nothing(normalize: NormalizeStats) -> bool:
    """Whether it is that of plain pixels, which tells the number of channels."""
    return not any(normalize["mean"]) and all(std == 1 for std in normalize["std"])


def _stepped(values: Values, declared: NormalizeStats | None) -> Check:
    """Judge the std by the step between values of 8 bits.

    Only a step near 1/255 is judged: pixels of 4 or 6 bits have a longer one.
    """
    found = normalizations.steps(values)
    stds = [1.0] * len(found) if declared is None else declared["std"]
    pairs = list(zip(found, stds, strict=True))
    lengths = [255 * each * std for each, std in pairs if each is not None]
    furthest = max(lengths, key=lambda each: abs(each - 1), default=1.0)
    off = abs(furthest - 1)
    if off <= STEP_OFF or not NEAR[0] < furthest < NEAR[1]:
        return Check(NAME, "PASS", "")
    right = [std if each is None else 1 / (255 * each) for each, std in pairs]
    text = (
        "they have the values of 8-bit images, but with the given normalisation these "
        f"lie {furthest:.3g}/255 apart instead of 1/255: the std is another one, and "
        f"eps is off by {100 * off:.0f} %."
    )
    shown = [round(each, 3) for each in right]
    remedy = f"Pass the mean and std of the transform; its std is {shown}."
    return Check(NAME, "WARN" if declared is None else "FAIL", text, remedy)


def _outside(
    seen: Fit, likely: Candidate | None, declared: NormalizeStats | None
) -> str:
    text = f"pixels span {_span(seen)} instead of [0, 1]"
    if likely is None:
        return f"{text}, and no usual normalisation explains that."
    if likely.kind == "double":
        return f"{text}: normalised twice ({likely.name})."
    if likely.kind == "scale":
        return f"{text}: wrong scale ({likely.name})."
    if declared is None:
        return f"{text}: they are normalised, and {likely.name} fits."
    if likely.kind == "plain":
        return f"{text}: they are plain pixels, not normalised."
    return f"{text}: normalised with another mean and std; {likely.name} fits."


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
        [round(float(each), 4) for each in normalize[key]] for key in ("mean", "std")
    )
    return f"normalize={{'mean': {mean}, 'std': {std}}}"


def _described(normalize: NormalizeStats | None, view: Tensor) -> str:
    """Name a normalisation, or write it out."""
    return normalizations.name_of(normalize, view.shape[-3]) or _argument(normalize)


def _span(seen: Fit) -> str:
    return f"[{float(seen.low.min()):.3g}, {float(seen.high.max()):.3g}]"
