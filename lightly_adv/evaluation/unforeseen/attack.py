"""Unforeseen attacks: what they are, the strengths they are run at, their registry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lightly_adv.evaluation.unforeseen.parametrization import Parametrize
from lightly_adv.registry import Registry


@dataclass(frozen=True)
class Origin:
    """Where strengths come from, and what is known of them.

    Args:
        eps: The strengths, in units of the attack.
        source: Where they and `ata` come from.
        ata: What the best network reached that was trained against the attack, at each
            of these strengths, in percent; None where that is not known. It belongs to
            CIFAR-10.

    Raises:
        ValueError: If `ata` has another length.
    """

    eps: tuple[float, ...]
    source: str
    ata: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if self.ata is not None and len(self.ata) != len(self.eps):
            raise ValueError(
                f"there are {len(self.eps)} strengths and {len(self.ata)} values of "
                "ata; expected one for each."
            )


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """The strengths that an attack is run at, and what is known of them.

    Args:
        name: Name of the attack.
        eps: Strengths, in units of the attack.
        unit: What these units are.
        origin: Where strengths come from, and what is known of them; it is ignored
            when `eps` is replaced by other strengths.

    Raises:
        ValueError: If there are no strengths, or if one is negative or not finite.
    """

    name: str
    eps: tuple[float, ...]
    unit: str
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if not self.eps or not all(math.isfinite(x) and x >= 0 for x in self.eps):
            raise ValueError(
                f"eps={self.eps} of the attack {self.name!r}; expected one or more "
                "finite numbers that are not negative."
            )

    @property
    def ata(self) -> tuple[float, ...] | None:
        """What the best network reached at each strength; None where not known."""
        return self._origin.ata

    @property
    def source(self) -> str:
        """Where strengths and `ata` come from."""
        return self._origin.source

    @property
    def _origin(self) -> Origin:
        if self.origin is None or self.origin.eps != self.eps:
            return Origin(self.eps, "own choice")
        return self.origin


@dataclass(frozen=True, kw_only=True)
class UnforeseenAttack(Strengths):
    """An attack, and the strengths to run it at.

    Args:
        name: Its name.
        parametrize: From images to what the attack can make of them.
        eps: Strengths, in units of the attack.
        unit: What these units are.
        origin: Where strengths come from, and what is known of them; it is ignored
            when `eps` is replaced by other strengths.
        largest: The largest strength that makes sense.

    Raises:
        ValueError: If there are no strengths, or if one is not finite, negative or
            above `largest`.

    Examples:
        >>> import dataclasses
        >>> linf = REGISTRY.create("linf")
        >>> weak = dataclasses.replace(linf, name="weak", eps=(0.001, 0.01))
        >>> weak.source, weak.ata
        ('own choice', None)
    """

    parametrize: Parametrize
    largest: float = math.inf

    @property
    def strengths(self) -> Strengths:
        """The strengths without the attack itself, for reports."""
        return Strengths(
            name=self.name, eps=self.eps, unit=self.unit, origin=self._origin
        )

    def __post_init__(self) -> None:
        """Validate the arguments."""
        super().__post_init__()
        if max(self.eps) > self.largest:
            raise ValueError(
                f"eps={max(self.eps):g} of the attack {self.name!r} is too large; "
                f"expected at most {self.largest:g} {self.unit}. Was it meant to be "
                "divided by 255?"
            )


REGISTRY = Registry[UnforeseenAttack](
    "unforeseen attack", "lightly_adv.unforeseen_attacks"
)
"""The unforeseen attacks by name."""

PUBLISHED = (
    *("linf", "l2", "l1", "jpeg_linf", "jpeg_l2", "jpeg_l1"),
    *("elastic", "fog", "gabor", "snow"),
)
"""Names of the ten attacks of Kang et al."""

CALIBRATION = "Kang et al., https://arxiv.org/abs/1908.08016, for CIFAR-10"
"""Where the calibrated strengths come from: ResNet-56, 200 steps."""

HAND_PICKED = (
    "own choice for 32 x 32, by eye: hardly seen at the first, the object lost in some "
    "images at the last"
)

P = TypeVar("P", bound=Parametrize)


def levels(*values: float) -> tuple[float, ...]:
    """Bring strengths that are counted in 0..255 to pixels in [0, 1]."""
    return tuple(value / 255 for value in values)


def unforeseen_attack(
    name: str,
    *,
    eps: tuple[float, ...],
    unit: str,
    ata: tuple[float, ...] | None = None,
    largest: float = math.inf,
) -> Callable[[P], P]:
    """Return a decorator that registers one of the attacks of Kang et al.

    Args:
        name: Name of the attack.
        eps: See `UnforeseenAttack`, also for the rest.
        unit: What these units are.
        ata: See `Origin`. Without it the strengths are picked by hand.
        largest: The largest strength that makes sense.
    """

    def decorator(parametrize: P) -> P:
        attack = UnforeseenAttack(
            name=name,
            parametrize=parametrize,
            eps=eps,
            unit=unit,
            origin=Origin(eps, CALIBRATION if ata else HAND_PICKED, ata),
            largest=largest,
        )
        REGISTRY.register(name)(lambda: attack)
        return parametrize

    return decorator


def resolve(
    attacks: Sequence[str | UnforeseenAttack] | None,
) -> tuple[UnforeseenAttack, ...]:
    """Return the attacks behind names. Defaults to the ten of Kang et al.

    Raises:
        TypeError: If one is neither a name nor an attack.
        ValueError: If a name is unknown, with the near ones, or given twice, or if
            there is none.

    Examples:
        >>> [attack.name for attack in resolve(["l1", "fog"])]
        ['l1', 'fog']
    """
    return REGISTRY.resolve_all(
        PUBLISHED if attacks is None else attacks, UnforeseenAttack
    )
