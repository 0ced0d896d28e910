"""What an accuracy was measured under: an attack, its steps, eps and norm."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EPS = r"(?:eps(?:ilon)?|ε|ϵ|\\(?:var)?epsilon)"
_NUMBER = r"\d+(?:\.\d+)?|\.\d+"
_FRACTION = re.compile(rf"(?:{_EPS}\s*[=:]?\s*)?({_NUMBER})\s*/\s*255")
_STATED = re.compile(rf"{_EPS}\s*[=:_ ]?\s*({_NUMBER})")
_NORMS = (
    (
        "Linf",
        re.compile(r"l[-_ ]?(?:inf(?:ty|inity)?|∞)\b|\u2113[-_ ]?∞|\\ell_\\infty"),
    ),
    ("L2", re.compile(r"\bl[-_ ]?2\b|\u2113[-_ ]?2|\\ell_2")),
    ("L1", re.compile(r"\bl[-_ ]?1\b|\u2113[-_ ]?1|\\ell_1")),
)
_RESTARTS = re.compile(r"\b(\d+)\s*restarts?\b|\brestarts?\s*[=:]?\s*(\d+)")
_STEPS = re.compile(
    r"\b(\d+)[- ]?(?:steps?|iter(?:ation)?s?)\b|\bsteps?\s*[=:]\s*(\d+)"
)
_ATTACKS = (
    ("autoattack", re.compile(r"auto[-_ ]?attack(?:-\w+)?|\baa\b")),
    ("apgd-ce", re.compile(r"\b(?:a|auto-?)pgd[- ]?ce\b")),
    ("apgd-t", re.compile(r"\b(?:a|auto-?)pgd[- ]?(?:dlr|t)\b")),
    ("apgd", re.compile(r"\b(?:a|auto-?)pgd\b")),
    ("fgsm", re.compile(r"\b[a-z]*-?fgsm(?:-?rs)?\b")),
    ("pgd", re.compile(r"\b(?:pgd|bim)[-_ ^{]*(\d+)?\b}?")),
    ("mim", re.compile(r"\bmim(?:[-_ ]?(\d+))?\b")),
    ("cw", re.compile(r"\bc\s*&\s*w\b|\bcw\b|carlini(?:[- ]wagner)?")),
    ("fab", re.compile(r"\bfab(?:-t)?\b")),
    ("square", re.compile(r"\bsquare\b")),
    (
        "clean",
        re.compile(r"\bclean\b|\bnat(?:ural)?\b|\bbenign\b|\bno attack\b|\bsa\b"),
    ),
    ("robust", re.compile(r"\brobust(?:ness)?\b|\badv(?:ersarial)?\b|\bra\b")),
)
_FILLERS = re.compile(
    r"\b(?:accuracy|acc|top-?1|test|under|after|at|with|attacks?|suite|standard|eps)\b|"
    r"[%()\[\]{},:;=@$*_|.]|\\"
)


@dataclass(frozen=True)
class Condition:
    """What an accuracy was measured under.

    Args:
        attack: "clean", the family of an attack such as "pgd", "robust" for an attack
            that is not named, or None where nothing is said.
        steps: Number of steps.
        restarts: Number of random starts.
        norm: "Linf", "L2" or "L1".
        eps: The radius, in pixels of [0, 1] where `in_pixels`.
    """

    attack: str | None = None
    steps: int | None = None
    restarts: int | None = None
    norm: str | None = None
    eps: float | None = None

    @property
    def in_pixels(self) -> bool:
        """Whether eps may be in pixels of [0, 1]; where it exceeds 1, it is not."""
        return self.eps is None or self.eps <= 1

    @property
    def is_clean(self) -> bool:
        """Whether there was no attack."""
        return self.attack == "clean" or self.eps == 0

    def within(self, other: Condition) -> Condition:
        """Return this condition, with what it does not say taken from another one."""
        if self.attack == "clean":
            return self
        named = self.attack not in (None, "robust")
        first, second = (self, other) if named else (other, self)
        return Condition(
            attack=first.attack or second.attack,
            steps=_either(first.steps, second.steps),
            restarts=_either(first.restarts, second.restarts),
            norm=self.norm or other.norm,
            eps=other.eps if self.eps is None else self.eps,
        )


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def parse(text: str) -> tuple[Condition, str]:
    """Return the condition that a heading or a cell names, and what else it says.

    Examples:
        >>> condition, rest = parse("CIFAR-10 PGD-20 (eps=8/255)")
        >>> condition.attack, condition.steps, round(255 * condition.eps), rest
        ('pgd', 20, 8, 'cifar-10')
        >>> parse("clean accuracy")[0].is_clean
        True
    """
    rest = _Rest(f" {text.lower().replace('_', ' ')} ")
    eps, stated = rest.take(_FRACTION), rest.take(_STATED)
    radius = float(eps) / 255 if eps else float(stated) if stated else None
    norm = next((name for name, form in _NORMS if rest.take(form) is not None), None)
    restarts, steps = rest.number(_RESTARTS), rest.number(_STEPS)
    attack = None
    for name, form in _ATTACKS:
        match = rest.take(form)
        if match is not None and attack is None:
            attack, steps = name, steps or int(match or 0) or None
        # "robust (pgd-20)" is one thing, so the others are taken, too.
    condition = Condition(attack, steps, restarts, norm, radius)
    return condition, " ".join(_FILLERS.sub(" ", rest.text).split())


class _Rest:
    """A text from which forms are taken, until the rest says something else."""

    def __init__(self, text: str) -> None:
        self.text = text

    def take(self, form: re.Pattern[str]) -> str | None:
        """Remove a form; return its first group or "", None if it is not there."""
        match = form.search(self.text)
        if match is None:
            return None
        self.text = form.sub(" ", self.text)
        return next((group for group in match.groups() if group), "")

    def number(self, form: re.Pattern[str]) -> int | None:
        """Remove a form with a number in it, and return that."""
        return int(self.take(form) or 0) or None
