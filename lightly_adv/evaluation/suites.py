"""Suites: named lists of attacks that a robust accuracy is measured with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightly_adv.attacks import PGD, Attack, AttackLike
from lightly_adv.evaluation import formatting
from lightly_adv.evaluation.checks import STANDARD, CheckContext, CheckFunction
from lightly_adv.registry import Registry
from lightly_adv.threat_model import ThreatModel


@dataclass(frozen=True)
class Suite:
    """A named list of attacks, run one after the other on what still stands.

    Args:
        name: Label that is printed next to every number of this suite.
        attacks: From a threat model to the attacks, by name, in the order to run
            them: the cheap ones first. Every attack must keep to the threat model.
        max_samples: Evaluate only that many images, the first ones. None stands for
            all of them.
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
        """Refuse what cannot be meant."""
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
    if isinstance(suite, Suite):
        return suite
    if isinstance(suite, str):
        return REGISTRY.create(suite)
    raise TypeError(
        f"suite is a {type(suite).__name__}; expected a Suite or one of the names "
        f"{REGISTRY.list()}."
    )


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
        step_size: Length of a step in pixels of [0, 1]. None stands for eps / 4.
        restarts: Number of independent runs, each on the images that withstood the
            ones before it.
        max_samples: Evaluate only the first that many images.

    Returns:
        A suite whose name tells what differs from `pgd_20`.

    Raises:
        ValueError: If `restarts` or `max_samples` is less than 1.

    Examples:
        >>> pgd(steps=50, step_size=1 / 255, restarts=3).name
        'pgd-50x3-step-1/255'
    """
    if restarts < 1:
        raise ValueError(f"restarts={restarts} is too small; expected at least 1.")
    name = f"pgd-{steps}"
    name += f"x{restarts}" if restarts != 1 else ""
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
        restarts: Number of independent runs, each on the images that withstood the
            ones before it.
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
        max_samples: How many images to evaluate.

    Examples:
        >>> smoke().max_samples
        256
    """
    attacks = functools.partial(_pgd, steps=10, step_size=None, restarts=1)
    return Suite("smoke", attacks, max_samples, checks=())


# A closure would do, but not survive being sent to another process.
def _pgd(
    threat_model: ThreatModel, *, steps: int, step_size: float | None, restarts: int
) -> dict[str, Attack]:
    # Restarts within one attack would keep the run with the highest loss, which need
    # not be the one that breaks the image, and would run on broken images, too.
    attack = PGD(threat_model, steps=steps, step_size=step_size)
    return {
        f"pgd-{run}" if run > 1 else "pgd": attack for run in range(1, restarts + 1)
    }


def _check_attack(
    suite: str, name: str, attack: Attack, threat_model: ThreatModel
) -> None:
    if name == "clean":
        raise ValueError(
            f"the suite {suite!r} calls an attack 'clean', the name of the verdict "
            "without an attack; choose another one."
        )
    if attack.threat_model != threat_model:
        raise ValueError(
            f"the attack {name!r} of the suite {suite!r} has its own threat model "
            f"{attack.threat_model}, expected {threat_model}; build it from the threat "
            "model that the suite is given."
        )
