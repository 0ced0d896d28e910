from __future__ import annotations

import pytest
import torch

from lightly_adv import FGSM, PGD, ThreatModel
from lightly_adv.attacks import Attack
from lightly_adv.doctor.checks.radius import eps
from tests.doctor import healthy
from tests.doctor.healthy import IMAGENET, Healthy, blamed, examine, told

ONE = [eps]


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (PGD(ThreatModel(eps=0.0)), "Nothing is perturbed."),
        (PGD(ThreatModel(eps=8 / 255 / 255)), "was it divided by 255 twice?"),
        (PGD(ThreatModel(norm="L2", eps=8 / 255)), "the radius of an Linf ball?"),
        (PGD(ThreatModel(norm="L1", eps=8 / 255)), "the radius of an Linf ball?"),
        (PGD(ThreatModel(eps=0.5)), "More than a quarter of the range"),
        (PGD(ThreatModel(norm="L2", eps=32.0)), "Is it in units of 0..255?"),
        (
            PGD(ThreatModel(eps=8 / 255 / 0.225)),
            "It is 8/255 divided by a std of 0.225",
        ),
        (PGD(ThreatModel(eps=8 / 255), step_size=20 / 255), "jumps across"),
        (
            PGD(ThreatModel(eps=8 / 255), 3, 1 / 255, random_start=False),
            "3 steps of 1/255 do not reach the rim",
        ),
    ],
)
def test_unlikely_radii_are_told(attack: Attack, message: str) -> None:
    data = [healthy.images(size=32), torch.arange(8) % 4]
    diagnosis = examine(Healthy(), data, attack, checks=ONE)
    assert blamed(diagnosis) == {"eps": "WARN"}
    assert message in told(diagnosis, "eps")


@pytest.mark.parametrize(
    "attack",
    [
        PGD(ThreatModel(eps=8 / 255)),
        PGD(ThreatModel(eps=0.031)),
        PGD(ThreatModel(eps=32 / 255)),
        PGD(ThreatModel(norm="L2", eps=0.5)),
        PGD(ThreatModel(norm="L1", eps=12.0)),
        FGSM(ThreatModel(eps=8 / 255)),
        FGSM(ThreatModel(eps=8 / 255), step_size=10 / 255, random_start=True),
    ],
)
def test_usual_radii_pass(attack: Attack) -> None:
    assert blamed(examine(Healthy(), healthy.batch(), attack, checks=ONE)) == {}


def test_eps_zero_is_all_that_is_wrong() -> None:
    diagnosis = examine(Healthy(), None, PGD(ThreatModel(eps=0.0), steps=1))
    assert blamed(diagnosis) == {"eps": "WARN"}
    assert diagnosis.skipped == ["loss"]


def test_eps_in_normalised_units_with_the_std_of_the_views() -> None:
    attack = healthy.attack(IMAGENET, eps=8 / 255 / 0.224)
    diagnosis = examine(Healthy(), healthy.batch(IMAGENET), attack, checks=ONE)
    assert "8/255 divided by a std of 0.224" in told(diagnosis, "eps")


def test_what_eps_does_is_told_in_three_units() -> None:
    attack = healthy.attack(IMAGENET)
    images = torch.full((8, 3, 16, 16), 0.5)
    images[:4] = 1.0
    mean, std = (torch.tensor(IMAGENET[key])[:, None, None] for key in IMAGENET)
    diagnosis = examine(Healthy(), [(images - mean) / std], attack, checks=ONE)
    text = told(diagnosis, "eps")
    assert "Linf 8/255 = 0.03137 in pixels" in text
    assert "each of 768 values can move by 8 of 255 levels" in text
    assert "0.137 0.14 0.139 in normalised units" in text
    assert "50 % are 0 or 1 already" in text
