"""The unforeseen attacks, with the strengths that they are run at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightly_adv.evaluation.unforeseen import elastic, fog, gabor, jpeg, pixel, snow
from lightly_adv.evaluation.unforeseen.scene import Setting
from lightly_adv.functional import validation


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
        setting: From images to what the attack can make of them.
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
        >>> weak = dataclasses.replace(ATTACKS["linf"], name="weak", eps=(0.001, 0.01))
        >>> weak.source, weak.ata
        ('own choice', None)
    """

    setting: Setting
    largest: float = math.inf

    def __post_init__(self) -> None:
        """Validate the arguments."""
        super().__post_init__()
        if max(self.eps) > self.largest:
            raise ValueError(
                f"eps={max(self.eps):g} of the attack {self.name!r} is too large; "
                f"expected at most {self.largest:g} {self.unit}. Was it meant to be "
                "divided by 255?"
            )


CALIBRATION = "Kang et al., https://arxiv.org/abs/1908.08016, for CIFAR-10"
"""Where the calibrated strengths come from: ResNet-56, 200 steps."""

HAND_PICKED = (
    "own choice for 32 x 32, by eye: hardly seen at the first, the object lost in some "
    "images at the last"
)


def _levels(*values: float) -> tuple[float, ...]:
    """Bring strengths that are counted in 0..255 to pixels in [0, 1]."""
    return tuple(value / 255 for value in values)


def _known(
    name: str,
    setting: Setting,
    *,
    eps: tuple[float, ...],
    unit: str,
    source: str,
    ata: tuple[float, ...] | None = None,
    largest: float = math.inf,
) -> UnforeseenAttack:
    """Return an attack with the strengths that something is known of."""
    return UnforeseenAttack(
        name=name,
        setting=setting,
        eps=eps,
        unit=unit,
        origin=Origin(eps, source, ata),
        largest=largest,
    )


_ALL = (
    _known(
        "linf",
        pixel.linf,
        eps=_levels(1, 2, 4, 8, 16, 32),
        unit="pixels",
        ata=(91.0, 87.8, 81.6, 71.3, 46.5, 23.1),
        source=CALIBRATION,
        largest=1.0,
    ),
    _known(
        "l2",
        pixel.l2,
        eps=_levels(40, 80, 160, 320, 640, 2560),
        unit="pixels",
        ata=(90.1, 86.4, 79.6, 67.3, 49.9, 17.3),
        source=CALIBRATION,
    ),
    _known(
        "l1",
        pixel.l1,
        eps=_levels(195, 390, 780, 1560, 6240, 24960),
        unit="pixels",
        ata=(92.2, 90.0, 83.2, 73.8, 47.4, 35.3),
        source=CALIBRATION,
    ),
    _known(
        "jpeg_linf",
        jpeg.linf,
        eps=(0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0),
        unit="half steps of the quantisation",
        ata=(89.7, 87.0, 83.1, 78.6, 69.7, 35.4),
        source=CALIBRATION,
    ),
    _known(
        "jpeg_l2",
        jpeg.l2,
        eps=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        unit="half steps of the quantisation",
        ata=(92.2, 91.0, 88.4, 85.8, 81.3, 72.0),
        source=CALIBRATION,
    ),
    _known(
        "jpeg_l1",
        jpeg.l1,
        eps=(2.0, 8.0, 64.0, 256.0, 512.0, 1024.0),
        unit="half steps of the quantisation",
        ata=(91.4, 88.1, 80.2, 68.9, 56.3, 37.7),
        source=CALIBRATION,
    ),
    _known(
        "elastic",
        elastic.elastic,
        eps=(0.125, 0.25, 0.5, 1.0, 2.0, 8.0),
        unit="pixels of displacement",
        ata=(87.4, 81.3, 72.1, 58.2, 45.4, 27.8),
        source=CALIBRATION,
    ),
    _known(
        "fog",
        fog.fog,
        eps=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
        unit="weight of the cloud",
        source=HAND_PICKED,
    ),
    _known(
        "gabor",
        gabor.gabor,
        eps=_levels(4, 8, 16, 32, 64, 128),
        unit="pixels",
        source=HAND_PICKED,
        largest=1.0,
    ),
    _known(
        "snow",
        snow.snow,
        eps=(0.0625, 0.125, 0.25, 0.5, 1.0, 2.0),
        unit="brightness of the snow",
        source=HAND_PICKED,
    ),
)
ATTACKS = {attack.name: attack for attack in _ALL}
"""The ten attacks of Kang et al., by name."""


def resolve(
    attacks: Sequence[str | UnforeseenAttack] | None,
) -> tuple[UnforeseenAttack, ...]:
    """Return the attacks behind names; None stands for all ten.

    Raises:
        TypeError: If one is neither a name nor an attack.
        ValueError: If a name is unknown, with the near ones, or given twice, or if
            there is none.

    Examples:
        >>> [attack.name for attack in resolve(["l1", "fog"])]
        ['l1', 'fog']
    """
    if isinstance(attacks, str):
        raise TypeError(f"attacks={attacks!r}; expected a list, [{attacks!r}].")
    found = tuple(_resolve(each) for each in (ATTACKS if attacks is None else attacks))
    names = [attack.name for attack in found]
    if not found or len(set(names)) < len(names):
        raise ValueError(
            f"attacks={names}; expected one or more, each once. Give an attack with "
            "other strengths a name of its own."
        )
    return found


def _resolve(attack: str | UnforeseenAttack) -> UnforeseenAttack:
    if isinstance(attack, UnforeseenAttack):
        return attack
    if not isinstance(attack, str):
        raise TypeError(
            f"an attack is a {type(attack).__name__}; expected an UnforeseenAttack or "
            f"one of the names {list(ATTACKS)}."
        )
    if attack not in ATTACKS:
        hint = validation.did_you_mean(attack, ATTACKS)
        raise ValueError(
            f"unknown attack {attack!r}. {hint}Expected one of {', '.join(ATTACKS)}."
        )
    return ATTACKS[attack]
