"""The unforeseen attacks, with the strengths that they are run at."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightly_adv.evaluation.unforeseen import elastic, fog, gabor, jpeg, pixel, snow
from lightly_adv.evaluation.unforeseen.scene import Setting


@dataclass(frozen=True)
class UnforeseenAttack:
    """An attack, and the strengths to run it at.

    Args:
        name: Its name.
        setting: From pictures to what the attack can make of them.
        eps: Strengths, in units of the attack.
        unit: What these units are.
        ata: What the best network reached that was trained against this attack, at
            each strength, in percent; None where that is not known. It belongs to
            CIFAR-10.
        source: Where strengths and `ata` come from.
        largest: The largest strength that can be meant.

    Raises:
        ValueError: If there are no strengths, if one is not finite, negative or above
            `largest`, or if `ata` has another length.

    Examples:
        >>> import dataclasses
        >>> weak = dataclasses.replace(ATTACKS["fog"], eps=(0.1, 0.2))
        >>> weak.name, weak.eps
        ('fog', (0.1, 0.2))
    """

    name: str
    setting: Setting
    eps: tuple[float, ...]
    unit: str
    ata: tuple[float, ...] | None = None
    source: str = "own choice"
    largest: float = math.inf

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.eps or not all(math.isfinite(x) and x >= 0 for x in self.eps):
            raise ValueError(
                f"eps={self.eps} of the attack {self.name!r}; expected one or more "
                "finite numbers that are not negative."
            )
        if max(self.eps) > self.largest:
            raise ValueError(
                f"eps={max(self.eps):g} of the attack {self.name!r} is too large; "
                f"expected at most {self.largest:g} {self.unit}. Was it meant to be "
                "divided by 255?"
            )
        if self.ata is not None and len(self.ata) != len(self.eps):
            raise ValueError(
                f"the attack {self.name!r} has {len(self.eps)} strengths and "
                f"{len(self.ata)} values of ata; expected one for each. Pass ata=None "
                "together with strengths of your own."
            )


CALIBRATION = "Kang et al., https://arxiv.org/abs/1908.08016, for CIFAR-10"
"""Where the calibrated strengths come from: ResNet-56, 200 steps."""

BY_EYE = (
    "own choice for 32 x 32, by eye: hardly seen at the first, the object lost in some "
    "pictures at the last"
)


def _levels(*values: float) -> tuple[float, ...]:
    """Bring strengths that are counted in 0..255 to pixels in [0, 1]."""
    return tuple(value / 255 for value in values)


_ALL = (
    UnforeseenAttack(
        "linf",
        pixel.linf,
        eps=_levels(1, 2, 4, 8, 16, 32),
        unit="pixels",
        ata=(91.0, 87.8, 81.6, 71.3, 46.5, 23.1),
        source=CALIBRATION,
        largest=1.0,
    ),
    UnforeseenAttack(
        "l2",
        pixel.l2,
        eps=_levels(40, 80, 160, 320, 640, 2560),
        unit="pixels",
        ata=(90.1, 86.4, 79.6, 67.3, 49.9, 17.3),
        source=CALIBRATION,
    ),
    UnforeseenAttack(
        "l1",
        pixel.l1,
        eps=_levels(195, 390, 780, 1560, 6240, 24960),
        unit="pixels",
        ata=(92.2, 90.0, 83.2, 73.8, 47.4, 35.3),
        source=CALIBRATION,
    ),
    UnforeseenAttack(
        "jpeg_linf",
        jpeg.linf,
        eps=(0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0),
        unit="half steps of the quantisation",
        ata=(89.7, 87.0, 83.1, 78.6, 69.7, 35.4),
        source=CALIBRATION,
    ),
    UnforeseenAttack(
        "jpeg_l2",
        jpeg.l2,
        eps=(0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
        unit="half steps of the quantisation",
        ata=(92.2, 91.0, 88.4, 85.8, 81.3, 72.0),
        source=CALIBRATION,
    ),
    UnforeseenAttack(
        "jpeg_l1",
        jpeg.l1,
        eps=(2.0, 8.0, 64.0, 256.0, 512.0, 1024.0),
        unit="half steps of the quantisation",
        ata=(91.4, 88.1, 80.2, 68.9, 56.3, 37.7),
        source=CALIBRATION,
    ),
    UnforeseenAttack(
        "elastic",
        elastic.elastic,
        eps=(0.125, 0.25, 0.5, 1.0, 2.0, 8.0),
        unit="pixels of displacement",
        ata=(87.4, 81.3, 72.1, 58.2, 45.4, 27.8),
        source=CALIBRATION,
    ),
    UnforeseenAttack(
        "fog",
        fog.fog,
        eps=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
        unit="weight of the cloud",
        source=BY_EYE,
    ),
    UnforeseenAttack(
        "gabor",
        gabor.gabor,
        eps=_levels(4, 8, 16, 32, 64, 128),
        unit="pixels",
        source=BY_EYE,
        largest=1.0,
    ),
    UnforeseenAttack(
        "snow",
        snow.snow,
        eps=(0.0625, 0.125, 0.25, 0.5, 1.0, 2.0),
        unit="brightness of the snow",
        source=BY_EYE,
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
        near = difflib.get_close_matches(attack, ATTACKS, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(
            f"unknown attack {attack!r}. {hint}Expected one of {', '.join(ATTACKS)}."
        )
    return ATTACKS[attack]
