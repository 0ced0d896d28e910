from __future__ import annotations

import pickle

import pytest

import lightly_adv.evaluation as evaluation
from lightly_adv.attacks import PGD, Attack, AttackSchedule
from lightly_adv.evaluation import Suite, suites
from lightly_adv.threat_model import ThreatModel

THREAT_MODEL = ThreatModel(eps=8 / 255)


def none(threat_model: ThreatModel) -> dict[str, Attack]:
    del threat_model
    return {}


def clean(threat_model: ThreatModel) -> dict[str, Attack]:
    return {"clean": PGD(threat_model)}


def stronger(threat_model: ThreatModel) -> dict[str, Attack]:
    del threat_model
    return {"pgd": PGD(ThreatModel(eps=0.5))}


def test_the_built_in_suites_are_registered() -> None:
    assert {"smoke", "pgd", "pgd-20"} <= set(evaluation.list_suites())
    assert evaluation.is_suite("smoke")
    assert evaluation.create_suite("pgd", steps=7).name == "pgd-7"
    with pytest.raises(ValueError, match="Did you mean 'pgd-20'"):
        evaluation.create_suite("pgd20")


def test_pgd_20_is_that_of_the_paper() -> None:
    suite = suites.pgd_20()
    (attack,) = suite.create_attacks(THREAT_MODEL).values()
    assert attack == PGD(THREAT_MODEL, steps=20, random_start=True, restarts=1)
    assert attack.resolved_step_size == pytest.approx(2 / 255)
    assert suite.max_samples is None


def test_restarts_are_attacks_of_their_own() -> None:
    attacks = suites.pgd_20(restarts=3).create_attacks(THREAT_MODEL)
    assert list(attacks) == ["pgd", "pgd-2", "pgd-3"]
    with pytest.raises(ValueError, match="restarts=0 is too small"):
        suites.pgd(restarts=0)


def test_smoke_is_short() -> None:
    (attack,) = suites.smoke().create_attacks(THREAT_MODEL).values()
    assert attack.steps == 10
    assert suites.smoke().max_samples == 256


def test_names_tell_settings_apart() -> None:
    every = [
        suites.pgd(),
        suites.pgd(steps=50),
        suites.pgd(restarts=5),
        suites.pgd(step_size=1 / 255),
        suites.pgd(step_size=0.01, restarts=2),
    ]
    names = [suite.name for suite in every]
    assert names == [
        "pgd-20",
        "pgd-50",
        "pgd-20x5",
        "pgd-20-step-1/255",
        "pgd-20x2-step-0.01",
    ]


def test_a_name_or_a_suite_stands_for_a_suite() -> None:
    suite = suites.pgd(steps=3)
    assert suites.resolve(suite) is suite
    assert suites.resolve("smoke").name == "smoke"
    with pytest.raises(TypeError, match="suite is a int; expected a Suite or one of"):
        suites.resolve(3)  # type: ignore[arg-type]


def test_built_in_suites_can_be_sent_to_another_process() -> None:
    suite = pickle.loads(pickle.dumps(suites.pgd(steps=3)))
    assert suite.create_attacks(THREAT_MODEL)["pgd"].steps == 3


def test_suites_that_cannot_be_meant() -> None:
    with pytest.raises(ValueError, match="max_samples=0 is too small"):
        suites.smoke(max_samples=0)
    with pytest.raises(ValueError, match="the suite 'none' has no attack"):
        Suite("none", none).create_attacks(THREAT_MODEL)
    with pytest.raises(ValueError, match="calls an attack 'clean'"):
        Suite("odd", clean).create_attacks(THREAT_MODEL)
    with pytest.raises(ValueError, match="'pgd' of the suite 'strong' has its own"):
        Suite("strong", stronger).create_attacks(THREAT_MODEL)


def test_a_schedule_stands_for_its_final_attack() -> None:
    suite = Suite("one", lambda model: {"pgd": AttackSchedule(PGD(model))})
    assert suite.create_attacks(THREAT_MODEL) == {"pgd": PGD(THREAT_MODEL)}
