from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lightly_adv.evaluation import evaluate_robustness, suites
from lightly_adv.evaluation.card import measure_curves
from lightly_adv.threat_model import ThreatModel
from tests.evaluation.card.cards import THREAT_MODEL, batches, classifier


def test_points_are_those_of_single_evaluations(tmp_path: Path) -> None:
    data = batches()
    state = tmp_path / "state"
    found = measure_curves(
        classifier(), data, THREAT_MODEL, max_samples=13, state=state
    )
    assert found.num_samples == 13
    last = found.eps[-1]
    assert last["eps_text"] == "32/255"
    wide = dataclasses.replace(THREAT_MODEL, eps=32 / 255)
    suite = suites.pgd(steps=20, max_samples=13)
    expected = evaluate_robustness(classifier(), data, wide, suite=suite, checks=())
    assert last["robust_accuracy"] == expected.robust_accuracy
    assert found.eps[0]["robust_accuracy"] == expected.clean_accuracy
    first = evaluate_robustness(
        classifier(),
        data,
        THREAT_MODEL,
        suite=suites.pgd(steps=1, max_samples=13),
        checks=(),
    )
    assert found.steps[0]["robust_accuracy"] == first.robust_accuracy
    assert found.passes == 13 * (5 * 20 + 1 + 2 + 5 + 10 + 50)
    # Ten runs: five radii, and five numbers of steps beside the one that is there.
    assert len(list(tmp_path.iterdir())) == 10
    again = measure_curves(
        classifier(), data, THREAT_MODEL, max_samples=13, state=state
    )
    assert again == found


def test_no_radius_is_larger_than_all_pixels() -> None:
    found = measure_curves(
        classifier(), batches(4), dataclasses.replace(THREAT_MODEL, eps=0.4)
    )
    assert [point["eps"] for point in found.eps] == [0.0, 0.1, 0.2, 0.4, 0.8]


def test_without_a_radius_there_is_no_curve() -> None:
    with pytest.raises(ValueError, match="eps=0 has no curve"):
        measure_curves(classifier(), batches(), ThreatModel(eps=0.0))
