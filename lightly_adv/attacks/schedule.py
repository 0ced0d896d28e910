"""Attacks that grow while training goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Generator, Tensor

from lightly_adv.attacks.attack import Attack
from lightly_adv.attacks.attack_like import AttackLike
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Objective, Views


@dataclass(frozen=True)
class AttackSchedule(AttackLike):
    """Ramp eps, and the number of steps, linearly at the beginning of training.

    Small networks may not learn at all under the full eps from the first batch on.
    The step size grows with eps, so that a step stays the same share of the ball. It
    stands wherever an attack does; called directly, it runs the final attack.

    Args:
        attack: The attack to end with.
        ramp: Share of training over which to grow, in [0, 1]. 0 grows at once.
        start_eps: Radius to begin with, in pixels of [0, 1].
        start_steps: Number of steps to begin with. Defaults to all of them.

    Raises:
        ValueError: If a number lies outside of its range.

    Examples:
        >>> from lightly_adv import PGD, ThreatModel
        >>> attack = PGD(ThreatModel(eps=0.1), steps=4, step_size=0.05)
        >>> schedule = AttackSchedule(attack, ramp=0.4)
        >>> now = schedule.at(0.2)
        >>> now.threat_model.eps, round(now.resolved_step_size, 6)
        (0.05, 0.025)
    """

    attack: Attack
    ramp: float = 0.4
    start_eps: float = 0.0
    start_steps: int | None = None

    def __post_init__(self) -> None:
        """Validate the arguments."""
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp={self.ramp} is not a share of training in [0, 1].")
        if not 0 <= self.start_eps <= self.threat_model.eps:
            raise ValueError(
                f"start_eps={self.start_eps} must lie between 0 and the final "
                f"eps={self.threat_model.eps}."
            )
        if (
            self.start_steps is not None
            and not 1 <= self.start_steps <= self.attack.steps
        ):
            raise ValueError(
                f"start_steps={self.start_steps} must lie between 1 and the final "
                f"steps={self.attack.steps}."
            )

    @property
    def threat_model(self) -> ThreatModel:  # type: ignore[override]
        """The final threat model."""
        return self.attack.threat_model

    @property
    def evaluations(self) -> int:
        """How often the final attack evaluates the objective per batch."""
        return self.attack.evaluations

    def at(self, progress: float) -> Attack:
        """Return the attack to run at a point of training, given in [0, 1]."""
        if progress >= self.ramp:
            return self.attack
        share = progress / self.ramp
        eps = self.start_eps + share * (self.threat_model.eps - self.start_eps)
        changes: dict[str, Any] = {"threat_model": replace(self.threat_model, eps=eps)}
        if self.attack.step_size is not None and self.threat_model.eps > 0:
            changes["step_size"] = self.attack.step_size * eps / self.threat_model.eps
        if self.start_steps is not None:
            grown = share * (self.attack.steps - self.start_steps)
            changes["steps"] = self.start_steps + round(grown)
        return replace(self.attack, **changes)

    def perturb_views(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]:
        """Run the final attack; see `AttackLike`."""
        return self.attack.perturb_views(objective, views, generator=generator)
