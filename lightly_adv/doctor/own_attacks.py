"""Modules that attack by themselves, such as `PretextModule` and `AdversarialLoss`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack, AttackLike
from lightly_adv.callbacks import preflight
from lightly_adv.types import Objective, Views


@dataclass(frozen=True)
class NoAttack(Attack):
    """Takes the place of the attack of a module: it returns the views."""

    @property
    def evaluations(self) -> int:
        """It never evaluates the objective."""
        return 0

    def perturb_views(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return the views as they are, so that gradients reach those of the batch."""
        return list(views)


def own_attacks(module: nn.Module) -> list[tuple[nn.Module, AttackLike]]:
    """Return the parts of a module that attack by themselves, with their attacks."""
    return [(part, attack) for _, part, attack in preflight.attacking_parts(module)]


def disable_own_attacks(module: nn.Module) -> None:
    """Let the parts that attack by themselves train on clean views, for good."""
    for part, attack in own_attacks(module):
        part.__dict__["attack"] = NoAttack(attack.threat_model)


def streams_of(part: Any) -> int:
    """Return how often a part that attacks by itself passes the network in a step."""
    mode = getattr(part, "mode", None)
    weight = getattr(part, "weight", 1.0)
    dual = mode == "dual" if isinstance(mode, str) else 0 < weight < 1
    return 2 if dual else 1
