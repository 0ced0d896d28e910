"""Which attack a module is examined with, and attacks that the module holds itself."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor, nn

from lightly_adv.attacks import PGD, Attack, AttackLike
from lightly_adv.callbacks import AdversarialTraining, preflight
from lightly_adv.doctor import image_values, normalizations
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import views
from lightly_adv.types import Objective, Views

DEFAULT = PGD(ThreatModel(eps=8 / 255), steps=5, step_size=2 / 255)
"""The attack where none is given."""


@dataclass(frozen=True)
class AttackChoice:
    """The attack, and what training does with it.

    Args:
        training: Attack, mode, view policy and the like.
        from_callback: Whether the module is trained under this very callback.
        guessed: Whether no attack was given, so that it has to fit the images.
        attacks_itself: Whether the training step attacks, as that of `PretextModule`.
        streams: How often a training step passes the network in all: 2 where it is
            trained on clean and adversarial views.
    """

    training: AdversarialTraining
    from_callback: bool = False
    guessed: bool = False
    attacks_itself: bool = False
    streams: int = 1

    def fitting(self, batch: Any) -> AttackChoice:
        """Return the choice with a guessed attack normalised as the images are.

        What cannot be guessed from them is left for the checks to find.
        """
        if not self.guessed:
            return self
        threat_model = DEFAULT.threat_model
        try:
            selected = views.select_views(batch, policy=None, normalize=None)
            found = normalizations.guess(image_values.values_of(selected.images))
        except (TypeError, ValueError, RuntimeError):
            found = None
        if found is not None and found.kind == "once":
            threat_model = dataclasses.replace(threat_model, normalize=found.normalize)
        attack = dataclasses.replace(DEFAULT, threat_model=threat_model)
        return dataclasses.replace(self, training=AdversarialTraining(attack))


def choose_attack(module: Any, attack: Any) -> AttackChoice:
    """Return the attack that was given, or else that of the module.

    Args:
        module: The module that is to be trained.
        attack: An attack, a schedule, a threat model, the callback, or None.

    Raises:
        TypeError: If it is none of these.
    """
    held = (
        list(preflight.attacking_parts(module)) if isinstance(module, nn.Module) else []
    )
    training = _training(attack, held[0][2] if held else DEFAULT)
    return AttackChoice(
        training,
        from_callback=isinstance(attack, AdversarialTraining),
        guessed=attack is None and not held,
        attacks_itself=bool(held),
        streams=_streams_of(held[0][1]) if held else 1 + (training.mode == "dual"),
    )


def disable_own_attacks(module: nn.Module) -> None:
    """Let the parts that attack by themselves train on clean views, for good."""
    for _, part, attack in list(preflight.attacking_parts(module)):
        part.__dict__["attack"] = NoAttack(attack.threat_model)


@dataclass(frozen=True)
class NoAttack(Attack):
    """Replaces the attack of a module: it returns the views."""

    @property
    def evaluations(self) -> int:
        """It never evaluates the objective."""
        return 0

    def perturb_views(
        self, objective: Objective, views: Views, *, generator: Generator | None = None
    ) -> list[Tensor]:
        """Return the views as they are, so that gradients reach those of the batch."""
        return list(views)


def _training(attack: Any, default: AttackLike) -> AdversarialTraining:
    if isinstance(attack, AdversarialTraining):
        return attack
    if isinstance(attack, ThreatModel):
        return AdversarialTraining(PGD(attack, steps=5))
    if attack is None or isinstance(attack, AttackLike):
        return AdversarialTraining(attack or default)
    raise TypeError(
        f"attack is a {type(attack).__name__}; expected an attack such as "
        "PGD(ThreatModel(eps=8 / 255), steps=5), a ThreatModel, or the "
        "AdversarialTraining callback."
    )


def _streams_of(part: Any) -> int:
    """Return how often a part that attacks by itself passes the network in a step."""
    mode = getattr(part, "mode", None)
    weight = getattr(part, "weight", 1.0)
    dual = mode == "dual" if isinstance(mode, str) else 0 < weight < 1
    return 2 if dual else 1
