"""Which attack a module is examined with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import nn

from lightly_adv.attacks import PGD, Attack, AttackLike
from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.doctor import normalizations
from lightly_adv.doctor.own_attacks import own_attacks, streams_of
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import views

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
        """Return the choice with a guessed attack normalised as the images are."""
        if not self.guessed:
            return self
        training = AdversarialTraining(_default_attack(batch))
        return dataclasses.replace(self, training=training)


def choose_attack(module: Any, attack: Any) -> AttackChoice:
    """Return the attack that was given, or else that of the module.

    Args:
        module: The module that is to be trained.
        attack: An attack, a schedule, a threat model, the callback, or None.

    Raises:
        TypeError: If it is none of these.
    """
    own = own_attacks(module) if isinstance(module, nn.Module) else []
    training = _training(attack, own[0][1] if own else DEFAULT)
    return AttackChoice(
        training,
        from_callback=isinstance(attack, AdversarialTraining),
        guessed=attack is None and not own,
        attacks_itself=bool(own),
        streams=streams_of(own[0][0]) if own else 1 + (training.mode == "dual"),
    )


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


def _default_attack(batch: Any) -> Attack:
    """Return the default attack with the normalisation that the images show.

    What cannot be told from them is left for the checks to find.
    """
    threat_model = DEFAULT.threat_model
    try:
        selected = views.select_views(batch, policy=None, normalize=None)
        values = normalizations.values_of(selected.images)
        candidate = normalizations.guess(values)
    except (TypeError, ValueError, RuntimeError):
        candidate = None
    if candidate is not None and candidate.kind == "once":
        threat_model = dataclasses.replace(threat_model, normalize=candidate.normalize)
    return dataclasses.replace(DEFAULT, threat_model=threat_model)
