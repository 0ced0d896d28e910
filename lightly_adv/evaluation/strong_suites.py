"""Suites for numbers that are to be reported: APGD and AutoAttack."""

from __future__ import annotations

import functools

from lightly_adv.attacks import APGD, APGDTargeted, Attack
from lightly_adv.evaluation import autoattack, formatting
from lightly_adv.evaluation.autoattack import ReferenceAttack
from lightly_adv.evaluation.suites import REGISTRY, Suite
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm


@REGISTRY.register("apgd")
def apgd(
    *, steps: int = 100, restarts: int = 1, max_samples: int | None = None
) -> Suite:
    """APGD on the cross-entropy, then APGD aimed at the 9 most likely wrong classes.

    These are the two attacks that break nearly all that AutoAttack breaks, at a small
    part of its cost. It is not AutoAttack, and should not be called so.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    Args:
        steps: Number of steps of each run.
        restarts: Number of independent runs, for every target.
        max_samples: Evaluate only the first that many images.

    Returns:
        A suite whose name tells what differs from 100 steps and one run.

    Raises:
        ValueError: If a number is less than 1.

    Examples:
        >>> apgd().name, apgd(steps=20, restarts=5).name
        ('apgd', 'apgd-20x5')
        >>> list(apgd().create_attacks(ThreatModel(norm="L2", eps=0.5)))
        ['apgd-ce', 'apgd-t']
    """
    name = _named("apgd", restarts, steps=f"-{steps}" if steps != 100 else "")
    attacks = functools.partial(_apgd, steps=steps, restarts=restarts)
    return Suite(name, attacks, max_samples)


@REGISTRY.register("autoattack-standard")
def autoattack_standard(*, restarts: int = 1, max_samples: int | None = None) -> Suite:
    """The standard version of AutoAttack for L-inf, run by pyautoattack.

    APGD-CE, targeted APGD, targeted FAB and Square, with the authors' numbers. It needs
    `pip install lightly-adv[autoattack]`.

    - [0] Reliable evaluation of adversarial robustness with an ensemble of diverse
      parameter-free attacks, 2020, https://arxiv.org/abs/2003.01690

    Args:
        restarts: Number of runs of each attack; 1 is the standard.
        max_samples: Evaluate only the first that many images.

    Raises:
        ImportError: If pyautoattack is not installed.
        ValueError: If a number is less than 1.
    """
    return _autoattack("autoattack-standard", "Linf", restarts, max_samples)


@REGISTRY.register("autoattack-l2")
def autoattack_l2(*, restarts: int = 1, max_samples: int | None = None) -> Suite:
    """The standard version of AutoAttack for L2; see `autoattack_standard`.

    Args:
        restarts: Number of runs of each attack; 1 is the standard.
        max_samples: Evaluate only the first that many images.

    Raises:
        ImportError: If pyautoattack is not installed.
        ValueError: If a number is less than 1.
    """
    return _autoattack("autoattack-l2", "L2", restarts, max_samples)


def _autoattack(name: str, norm: Norm, restarts: int, max_samples: int | None) -> Suite:
    autoattack.require_package(suite=name)
    label = _named(name, restarts)
    attacks = functools.partial(_reference, suite=name, norm=norm, restarts=restarts)
    return Suite(label, attacks, max_samples)


def _named(name: str, restarts: int, *, steps: str = "") -> str:
    if restarts < 1:
        raise ValueError(f"restarts={restarts} is too small; expected at least 1.")
    return name + steps + (f"x{restarts}" if restarts != 1 else "")


# Closures would do, but not survive being sent to another process.
def _apgd(threat_model: ThreatModel, *, steps: int, restarts: int) -> dict[str, Attack]:
    return {
        "apgd-ce": APGD(threat_model, steps=steps, restarts=restarts),
        "apgd-t": APGDTargeted(threat_model, steps=steps, restarts=restarts),
    }


def _reference(
    threat_model: ThreatModel, *, suite: str, norm: Norm, restarts: int
) -> dict[str, Attack]:
    if threat_model.norm != norm:
        other = {"Linf": "autoattack-standard", "L2": "autoattack-l2"}
        instead = other.get(threat_model.norm, "pgd-20")
        raise ValueError(
            f"the suite {suite!r} is made for {norm}, and the threat model is "
            f"{formatting.ball(threat_model)}; take {instead!r} for that."
        )
    return {
        name: ReferenceAttack(threat_model, restarts=restarts, name=name)
        for name in autoattack.NAMES
    }
