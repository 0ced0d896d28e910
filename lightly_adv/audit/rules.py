"""What cannot be in a table of accuracies, and what each finding says."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from lightly_adv.audit.measurements import Measurement
from lightly_adv.evaluation.checks.check import Check

Rule: TypeAlias = Callable[[Sequence[Measurement]], Iterable[Check]]
"""Yields a finding for each thing in the accuracies of one model that cannot be."""

SLACK = 0.5
"""By how many points noise and rounding of an attack may turn an order around."""

FLAT = 1.0
"""Over how many points a curve has to fall while eps triples."""

_APGD = ("apgd", "apgd-ce", "apgd-t")
_ITERATIVE = ("pgd", "mim", "autoattack", *_APGD)
_WEAKER_THAN_AUTOATTACK = ("fab", "square", "pgd", "mim", "fgsm", "cw", *_APGD)


def clean_lower_than_robust(found: Sequence[Measurement]) -> Iterator[Check]:
    """Robust images are correctly classified without an attack, too."""
    clean = [each for each in found if each.condition.is_clean]
    attacked = [each for each in found if not each.condition.is_clean]
    for one, other in itertools.product(clean, attacked):
        if _above(other, one, slack=0):
            yield _finding(
                "robust above clean",
                f"{other} exceeds the clean {one}",
                "Count an image as robust only if it is correct without an attack, and "
                "measure both on the same images with the same model.",
            )


def rising_with_eps(found: Sequence[Measurement]) -> Iterator[Check]:
    """What misleads within a ball does so within a larger one."""
    for curve in _curves(found):
        for one, other in itertools.pairwise(curve):
            if _above(other, one):
                yield _finding(
                    "rises with eps",
                    f"{other} exceeds {one} at a smaller eps",
                    "Every perturbation of the smaller ball is allowed in the larger "
                    "one: the attack gets stuck. More steps, steps that grow with eps, "
                    "or restarts.",
                )


def equal_at_other_eps(found: Sequence[Measurement]) -> Iterator[Check]:
    """Two radii hardly ever leave just as many images."""
    for curve in _curves(found):
        for one, other in itertools.pairwise(curve):
            if one.value == other.value and _is_inner(one) and one.rounding < 0.5:
                yield _finding(
                    "equal at different eps",
                    f"{one} equals {other}",
                    "Was one eps used for both, or a value copied?",
                )


def flat_curve(found: Sequence[Measurement]) -> Iterator[Check]:
    """An accuracy that hardly falls while eps triples means an attack that fails."""
    for curve in _curves(found):
        first, last = curve[0], curve[-1]
        wide = last.condition.eps >= 3 * first.condition.eps  # type: ignore[operator]
        fall = max(x.value for x in curve) - min(x.value for x in curve)
        if wide and len(curve) > 2 and _is_inner(first) and fall < FLAT:
            yield _finding(
                "flat curve",
                f"from {first} to {last} it moves by {fall:.2g} points",
                "Gradients are probably masked: evaluate with 'autoattack-standard' "
                "and look at the checks of lightly-adv evaluate.",
            )


def robust_to_grey(found: Sequence[Measurement]) -> Iterator[Check]:
    """From eps = 1/2 in L-inf on every image may turn into the same grey."""
    for each in found:
        condition = each.condition
        is_linf = condition.norm == "Linf" and condition.in_pixels
        if is_linf and (condition.eps or 0) >= 0.5 and each.value > 50:
            yield _finding(
                "robust to grey images",
                f"{each} is left where every image may become the same grey",
                "The attack fails, or eps is in another unit.",
            )


def weaker_attack_lower(found: Sequence[Measurement]) -> Iterator[Check]:
    """A stronger attack leaves no more than a weaker one at the same eps."""
    for one, other in _pairs_in_a_ball(found):
        if _is_stronger(one, other) and _above(one, other):
            autoattack = one.condition.attack == "autoattack"
            yield _finding(
                "AutoAttack above a weaker attack"
                if autoattack
                else "stronger attack above weaker one",
                f"{one} exceeds {other} of a weaker attack",
                "Model, images and eps were probably not the same, or gradients are "
                "masked: report the lowest accuracy, image by image.",
            )


def gradient_free_lower(found: Sequence[Measurement]) -> Iterator[Check]:
    """An attack without gradients that does better means that gradients mislead."""
    if any(each.condition.attack in _APGD for each in found):
        return  # the members of AutoAttack, each after those before it
    for one, other in _pairs_in_a_ball(found):
        attacks = one.condition.attack, other.condition.attack
        if attacks == ("square", "pgd") and _above(other, one):
            yield _finding(
                "gradients mislead",
                f"{one} without gradients is lower than {other} with them",
                "Gradients are masked: evaluate with 'autoattack-standard'.",
            )


def eps_zero_differs(found: Sequence[Measurement]) -> Iterator[Check]:
    """With eps = 0 the accuracy is the clean one."""
    clean = [each for each in found if each.condition.attack == "clean"]
    zero = [x for x in found if x.condition.eps == 0 and x.condition.attack != "clean"]
    for one, other in itertools.product(clean, zero):
        if _above(one, other, slack=0) or _above(other, one, slack=0):
            yield _finding(
                "eps = 0 differs from clean",
                f"{other} is not the clean {one}",
                "Something else than the attack differs: mode, preprocessing, images.",
            )


def out_of_range(found: Sequence[Measurement]) -> Iterator[Check]:
    """Accuracies are between 0 and 100 %; counts of images are as they are."""
    are_counts = all(each.value == int(each.value) for each in found)
    if are_counts and any(x.condition.is_clean and x.value > 100 for x in found):
        return
    for each in found:
        if not 0 <= each.value <= 100:
            yield _finding(
                "out of range", f"{each} is no accuracy in percent", "Check the column."
            )


RULES: tuple[Rule, ...] = (
    out_of_range,
    clean_lower_than_robust,
    eps_zero_differs,
    rising_with_eps,
    equal_at_other_eps,
    flat_curve,
    robust_to_grey,
    weaker_attack_lower,
    gradient_free_lower,
)
"""All of them."""


def by_model(found: Iterable[Measurement]) -> list[list[Measurement]]:
    """Return the accuracies of each model."""
    models: dict[str, list[Measurement]] = defaultdict(list)
    for each in found:
        models[each.model].append(each)
    return list(models.values())


def _curves(found: Sequence[Measurement]) -> list[list[Measurement]]:
    """Return accuracies of one attack at several eps above 0, by rising eps."""
    curves: dict[object, dict[float, Measurement]] = defaultdict(dict)
    for each in found:
        about = each.condition
        if about.eps and not about.is_clean:
            key = (about.attack, about.steps, about.restarts, about.norm)
            curves[key, about.in_pixels].setdefault(about.eps, each)
    return [
        [curve[eps] for eps in sorted(curve)]
        for curve in curves.values()
        if len(curve) > 1
    ]


def _pairs_in_a_ball(
    found: Sequence[Measurement],
) -> Iterator[tuple[Measurement, Measurement]]:
    """Yield all pairs of different attacks with one norm and eps, both ways round."""
    balls: dict[object, list[Measurement]] = defaultdict(list)
    for each in found:
        if not each.condition.is_clean:
            balls[each.condition.norm, each.condition.eps].append(each)
    for ball in balls.values():
        yield from itertools.permutations(ball, 2)


def _is_stronger(one: Measurement, other: Measurement) -> bool:
    """Return whether the first attack leaves no more, whatever the model."""
    first, second = one.condition, other.condition
    if first.attack == second.attack:
        more = _more(first.steps, second.steps), _more(first.restarts, second.restarts)
        return True in more and False not in more
    if first.attack == "autoattack":
        return second.attack in _WEAKER_THAN_AUTOATTACK
    return first.attack in _ITERATIVE and second.attack == "fgsm"


def _more(one: int | None, other: int | None) -> bool | None:
    """Return whether it is more, or None where both are the same."""
    if one == other:
        return None
    return one is not None and other is not None and one > other


def _above(one: Measurement, other: Measurement, slack: float = SLACK) -> bool:
    blur = one.rounding + other.rounding + one.spread + other.spread
    return one.value - other.value > slack + blur + 1e-9


def _is_inner(measurement: Measurement) -> bool:
    """Return whether it is neither nothing nor everything."""
    return 1 < measurement.value < 99.5


def _finding(name: str, message: str, remedy: str) -> Check:
    return Check(name, "FAIL", message, remedy)
