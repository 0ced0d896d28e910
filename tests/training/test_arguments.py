from __future__ import annotations

import pytest

from lightly_adv import PGD, ThreatModel
from lightly_adv.attacks import AttackSchedule
from lightly_adv.training.arguments import check_attack, check_weight

ATTACK = PGD(ThreatModel(eps=0.1), steps=2)


@pytest.mark.parametrize("attack", [ATTACK, AttackSchedule(ATTACK)])
def test_attacks_pass(attack: object) -> None:
    check_attack(attack)


@pytest.mark.parametrize("other", [None, 0.1, PGD])
def test_others_do_not(other: object) -> None:
    kind = type(other).__name__
    with pytest.raises(TypeError, match=rf"attack is a {kind}; expected an attack"):
        check_attack(other)


def test_weights_are_shares() -> None:
    check_weight(0)
    check_weight(1)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"weight={weight} must lie in \[0, 1\]"):
            check_weight(weight)
