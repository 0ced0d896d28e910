from __future__ import annotations

import pickle

import pytest
import torch

from lightly_adv.attacks import APGD, APGDTargeted
from lightly_adv.evaluation import create_suite, evaluate_robustness, suites
from lightly_adv.threat_model import ThreatModel
from tests.attacks.small_classifier import labelled_images, trained

THREAT_MODEL = ThreatModel(eps=2 / 255)


def test_apgd_is_100_steps_of_both() -> None:
    attacks = create_suite("apgd").create_attacks(THREAT_MODEL)
    assert attacks == {
        "apgd-ce": APGD(THREAT_MODEL, steps=100),
        "apgd-t": APGDTargeted(THREAT_MODEL, steps=100),
    }


def test_names_tell_settings_apart() -> None:
    pytest.importorskip("pyautoattack")
    every = [
        suites.apgd(),
        suites.apgd(restarts=5),
        suites.apgd(steps=20),
        suites.autoattack_standard(),
        suites.autoattack_standard(restarts=2),
        suites.autoattack_l2(restarts=3),
    ]
    assert [suite.name for suite in every] == [
        "apgd",
        "apgdx5",
        "apgd-20",
        "autoattack-standard",
        "autoattack-standardx2",
        "autoattack-l2x3",
    ]
    for suite in every[:5]:
        again = pickle.loads(pickle.dumps(suite))
        attacks = again.create_attacks(THREAT_MODEL)
        assert attacks == suite.create_attacks(THREAT_MODEL)
    reference = every[4].create_attacks(THREAT_MODEL)
    assert {each.restarts for each in reference.values()} == {2}


def test_no_restarts_are_refused() -> None:
    with pytest.raises(ValueError, match="restarts=0 is too small"):
        suites.apgd(restarts=0)


def test_it_is_stronger_than_pgd_20_and_says_what_it_did() -> None:
    model = trained(classes=6)
    images, labels = labelled_images(100, seed=1, classes=6)
    batches = [(images[:60], labels[:60]), (images[60:], labels[60:])]
    strong, weak = (
        evaluate_robustness(model, batches, THREAT_MODEL, suite=suite)
        for suite in (suites.apgd(steps=30, max_samples=80), "pgd-20")
    )
    assert strong.num_samples == 80
    both = strong.flags["apgd-t"], weak.flags["pgd"][:80]
    assert int(both[0].sum()) <= int(both[1].sum())
    assert bool((strong.flags["apgd-t"] <= strong.flags["apgd-ce"]).all())
    assert strong.label == "apgd-30, Linf 2/255, 80 images"
    assert strong.notes == [
        "with 6 classes APGDTargeted aimed at 5 wrong ones instead of 9."
    ]
    assert strong.attacks["apgd-t"]["type"] == "APGDTargeted"
    assert strong.attacks["apgd-t"]["step_size"] == 4 / 255
    assert torch.equal(strong.flags["clean"], weak.flags["clean"][:80])
