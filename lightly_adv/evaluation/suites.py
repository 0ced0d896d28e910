"""Suites: named lists of attacks that robust accuracy is measured with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightly_adv.attacks import APGD, PGD, APGDTargeted, Attack, AttackLike
from lightly_adv.evaluation import autoattack, formatting
from lightly_adv.evaluation.autoattack import ReferenceAttack
from lightly_adv.evaluation.checks import STANDARD, CheckContext, CheckFunction
from lightly_adv.registry import Registry
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Norm


@dataclass(frozen=True)
class Suite:
    """A named list of attacks, run one after the other on what is still robust.

    Args:
        name: Label that is printed next to every number of this suite.
        attacks: From a threat model to the attacks, by name, in the order to run
            them: the cheap ones first. Every attack must keep to the threat model.
        max_samples: Evaluate only that many images, the first ones, where the
            evaluation is not given a number of its own. Defaults to all of them.
        checks: What to look at, on a few images, to tell whether the numbers can be
            believed.

    Raises:
        ValueError: If `max_samples` is less than 1.

    Examples:
        >>> from lightly_adv import FGSM
        >>> def attacks(threat_model: ThreatModel) -> dict[str, Attack]:
        ...     return {"fgsm": FGSM(threat_model), "pgd": PGD(threat_model, steps=50)}
        >>> suite = Suite("two", attacks, max_samples=1000)
        >>> list(suite.create_attacks(ThreatModel(eps=8 / 255)))
        ['fgsm', 'pgd']
    """

    name: str
    attacks: Callable[[ThreatModel], Mapping[str, AttackLike]]
    max_samples: int | None = None
    checks: Sequence[CheckFunction[CheckContext]] = STANDARD

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(
                f"max_samples={self.max_samples} is too small; expected at least 1, or "
                "None for all images."
            )

    def create_attacks(self, threat_model: ThreatModel) -> dict[str, Attack]:
        """Return the attacks of this suite, checked.

        Raises:
            ValueError: If there is none, if one is called "clean", or if one does not
                keep to the threat model.
        """
        created = self.attacks(threat_model)
        attacks = {name: attack.at(1.0) for name, attack in created.items()}
        if not attacks:
            raise ValueError(f"the suite {self.name!r} has no attack; give it one.")
        for name, attack in attacks.items():
            _check_attack(self.name, name, attack, threat_model)
        return attacks


REGISTRY = Registry[Suite]("suite", "lightly_adv.suites")
"""The suites by name."""


def resolve(suite: str | Suite) -> Suite:
    """Return the suite behind a name; a `Suite` comes back as it is.

    Raises:
        TypeError: If it is neither a name nor a suite.
        ValueError: If the name is unknown, with the near ones.

    Examples:
        >>> resolve("pgd-20").name
        'pgd-20'
    """
    return REGISTRY.resolve(suite, Suite)


@REGISTRY.register("pgd")
def pgd(
    *,
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    max_samples: int | None = None,
) -> Suite:
    """PGD with a random start.

    Args:
        steps: Number of gradient steps.
        step_size: Length of a step in pixels of [0, 1]. Defaults to eps / 4.
        restarts: Number of independent runs, each on the images that are robust
            against those before it.
        max_samples: Evaluate only the first that many images.

    Returns:
        A suite whose name tells what differs from `pgd_20`.

    Raises:
        ValueError: If `restarts` or `max_samples` is less than 1.

    Examples:
        >>> pgd(steps=50, step_size=1 / 255, restarts=3).name
        'pgd-50x3-step-1/255'
    """
    name = _named(f"pgd-{steps}", restarts)
    name += f"-step-{formatting.fraction(step_size)}" if step_size is not None else ""
    attacks = functools.partial(
        _pgd, steps=steps, step_size=step_size, restarts=restarts
    )
    return Suite(name, attacks, max_samples)


@REGISTRY.register("pgd-20")
def pgd_20(*, restarts: int = 1, max_samples: int | None = None) -> Suite:
    """PGD with 20 steps of eps / 4 and a random start: 2/255 at eps = 8/255.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862

    Args:
        restarts: Number of independent runs, each on the images that are robust
            against those before it.
        max_samples: Evaluate only the first that many images.

    Examples:
        >>> attacks = pgd_20().create_attacks(ThreatModel(eps=8 / 255))
        >>> round(attacks["pgd"].resolved_step_size * 255, 6)
        2.0
    """
    return pgd(steps=20, restarts=restarts, max_samples=max_samples)


@REGISTRY.register("smoke")
def smoke(*, max_samples: int = 256) -> Suite:
    """PGD with 10 steps on the first 256 images: to see whether anything is wrong.

    Its number is too high and too noisy to be reported.

    Args:
        max_samples: Evaluate only the first that many images.

    Examples:
        >>> smoke().max_samples
        256
    """
    attacks = functools.partial(_pgd, steps=10, step_size=None, restarts=1)
    return Suite("smoke", attacks, max_samples, checks=())


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
    name = _named("apgd" if steps == 100 else f"apgd-{steps}", restarts)
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


def _named(name: str, restarts: int) -> str:
    if restarts < 1:
        raise ValueError(f"restarts={restarts} is too small; expected at least 1.")
    return name if restarts == 1 else f"{name}x{restarts}"


# Closures would do, but not survive being sent to another process.
def _pgd(
    threat_model: ThreatModel, *, steps: int, step_size: float | None, restarts: int
) -> dict[str, Attack]:
    # Restarts within one attack would keep the run with the highest loss, which need
    # not be the one that misleads the model, and would run on all images.
    attack = PGD(threat_model, steps=steps, step_size=step_size)
    return {
        f"pgd-{run}" if run > 1 else "pgd": attack for run in range(1, restarts + 1)
    }


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


def _check_attack(
    suite: str, name: str, attack: Attack, threat_model: ThreatModel
) -> None:
    if name == "clean":
        raise ValueError(
            f"the suite {suite!r} calls an attack 'clean', the name of the result "
            "without an attack; choose another one."
        )
    if attack.threat_model != threat_model:
        raise ValueError(
            f"the attack {name!r} of the suite {suite!r} has its own threat model "
            f"{attack.threat_model}, expected {threat_model}; build it from the threat "
            "model that the suite is given."
        )
