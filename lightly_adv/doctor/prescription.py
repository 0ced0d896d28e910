"""Which attack a module is examined with."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from lightly_adv.attacks import PGD, Attack, AttackLike
from lightly_adv.callbacks import AdversarialTraining
from lightly_adv.doctor import normalizations
from lightly_adv.doctor.own_attacks import own_attacks, streams_of
from lightly_adv.doctor.patient import Patient
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import views

USUAL = PGD(ThreatModel(eps=8 / 255), steps=5, step_size=2 / 255)
"""The attack where none is given."""


def prescribe(patient: Patient, attack: Any) -> None:
    """Fill in the attack that was given, and what training does with it.

    Raises:
        TypeError: If it is no attack.
    """
    module = patient.module
    own = own_attacks(module) if isinstance(module, nn.Module) else []
    if isinstance(attack, AdversarialTraining):
        patient.training = attack
        patient.callback = True
    elif isinstance(attack, AttackLike):
        patient.training.attack = attack
    elif isinstance(attack, ThreatModel):
        patient.training.attack = PGD(attack, steps=5)
    elif attack is not None:
        raise TypeError(
            f"attack is a {type(attack).__name__}; expected an attack such as "
            "PGD(ThreatModel(eps=8 / 255), steps=5), a ThreatModel, or the "
            "AdversarialTraining callback."
        )
    elif own:
        patient.training.attack = own[0][1]
    patient.guess = attack is None and not own
    patient.attacks_itself = bool(own)
    dual = patient.training.mode == "dual"
    patient.streams = streams_of(own[0][0]) if own else 1 + dual


def choose(patient: Patient) -> None:
    """Where no attack was given, choose one that fits the images."""
    if patient.guess:
        patient.training.attack = _usual_attack(patient.batch)


def _usual_attack(batch: Any) -> Attack:
    """Return the usual attack with the normalisation that the images show.

    What cannot be told from them is left for the checks to find.
    """
    threat_model = USUAL.threat_model
    try:
        found = views.select_views(batch, policy=None, normalize=None)
        values = normalizations.values_of(found.images)
        candidate = normalizations.guess(values)
    except (TypeError, ValueError, RuntimeError):
        candidate = None
    if candidate is not None and candidate.kind == "once":
        threat_model = dataclasses.replace(threat_model, normalize=candidate.normalize)
    return dataclasses.replace(USUAL, threat_model=threat_model)
