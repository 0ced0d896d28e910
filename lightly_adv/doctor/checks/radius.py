"""Check of what one eps does to an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightly_adv.attacks import Attack
from lightly_adv.doctor.checks.named import Result, named
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation import formatting
from lightly_adv.functional import norms, pixels
from lightly_adv.threat_model import ThreatModel

SMALLEST = {"Linf": 0.25, "L2": 0.2, "L1": 0.01}
"""Below this a ball is hardly larger than nothing: grey levels per pixel on average."""

LARGEST = 64.0
"""Above this it is larger than anything usual, in the same units."""

NEAR = 1e-3
"""How near to 0 or 1 a pixel is at the end of its range."""

USUAL = {
    "Linf": "4/255 or 8/255",
    "L2": "0.5 at 32 x 32, 3 at 224 x 224",
    "L1": "12",
}
"""Radii that papers use."""

_STDS = (0.225, 0.2453, 0.2)
"""Average std of ImageNet's and CIFAR-10's normalisations."""


@named
def eps(probe: Probe) -> Iterator[Result]:
    """Tell the radius in pixels, grey levels and normalised units, and judge it."""
    attack, views = probe.attack, probe.selected.views
    threat_model = attack.threat_model
    spread = norms.norm_of_ones(views[0][0].numel(), norm=threat_model.norm)
    levels = 255 * threat_model.eps / spread
    seen = _described(threat_model, views, levels)
    problem = _problem(threat_model, views, levels) or _steps(attack)
    if problem is None:
        yield "PASS", f"{seen}."
    else:
        yield "WARN", f"{seen}. {problem[0]}", problem[1]


def _described(
    threat_model: ThreatModel, views: Sequence[Tensor], levels: float
) -> str:
    eps, norm = threat_model.eps, threat_model.norm
    evenly = "" if norm == "Linf" else " if spread evenly"
    text = (
        f"{formatting.ball(threat_model)} = {eps:.4g} in pixels of [0, 1]: each of "
        f"{views[0][0].numel()} values can move by {levels:.3g} of 255 levels{evenly}"
    )
    if threat_model.normalize is not None and norm == "Linf":
        units = (f"{eps / float(std):.3g}" for std in threat_model.normalize["std"])
        text += f", {' '.join(units)} in normalised units"
    saturated = _saturated(threat_model, views)
    if saturated is not None:
        text += f"; {100 * saturated:.0f} % are 0 or 1 already"
    return text


def _problem(
    threat_model: ThreatModel, views: Sequence[Tensor], levels: float
) -> tuple[str, str] | None:
    eps, norm = threat_model.eps, threat_model.norm
    usual = f"eps is in pixels of [0, 1]; usual in {norm}: {USUAL[norm]}."
    if eps == 0:
        return "Nothing is perturbed.", "Raise eps, for instance to 8/255."
    if levels < SMALLEST[norm]:
        linf = "was it divided by 255 twice?"
        hint = linf if norm == "Linf" else "is it the radius of an Linf ball?"
        return f"That is next to nothing: {hint}", usual
    if levels > LARGEST:
        hint = " Is it in units of 0..255?" if eps > 1 else ""
        return f"More than a quarter of the range of pixels.{hint}", usual
    if norm == "Linf" and abs(levels - round(levels)) > 1e-3:
        return _normalised_units(threat_model, views)
    return None


def _normalised_units(
    threat_model: ThreatModel, views: Sequence[Tensor]
) -> tuple[str, str] | None:
    """Recognise a number of levels that was divided by the std of a normalisation."""
    _, std = pixels.channel_stats(views[0].float().cpu(), threat_model.normalize)
    candidates = {*_STDS, *std.flatten().tolist(), float(std.mean())}
    for each in sorted(candidates - {1.0}):
        levels = threat_model.eps * each * 255
        if round(levels) in (1, 2, 4, 8, 16) and abs(levels / round(levels) - 1) < 5e-3:
            return (
                f"It is {round(levels)}/255 divided by a std of {each:.3g}: is it in "
                "normalised units?",
                f"eps is in pixels, whatever the views are normalised with: pass "
                f"{round(levels)}/255.",
            )
    return None


def _steps(attack: Attack) -> tuple[str, str] | None:
    eps, length = attack.threat_model.eps, attack.resolved_step_size
    if length > 2 * eps:
        return (
            f"A step of {formatting.fraction(length)} jumps across the whole ball.",
            "Pass a step_size below eps; by default it is eps / 4.",
        )
    if not attack.random_start and attack.steps * length < eps * (1 - 1e-6):
        return (
            f"{attack.steps} steps of {formatting.fraction(length)} do not reach the "
            "rim of the ball.",
            "Take more or longer steps, or random_start=True.",
        )
    return None


def _saturated(threat_model: ThreatModel, views: Sequence[Tensor]) -> float | None:
    """Return the share of pixels at an end of the range; None if some are outside."""
    low, high = threat_model.bounds
    shares = []
    for view in views:
        position = pixels.to_pixels(view.detach().float(), threat_model.normalize)
        if position.min() < low - NEAR or position.max() > high + NEAR:
            return None
        at_end = (position <= low + NEAR) | (position >= high - NEAR)
        shares.append(at_end.float().mean())
    return float(torch.stack(shares).mean())
