from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from lightly_adv import __version__
from lightly_adv.attacks import FGSM, PGD
from lightly_adv.evaluation import (
    EncoderReport,
    Report,
    RobustnessReport,
    formatting,
    statistics,
)
from lightly_adv.evaluation.sweep import SweepReport
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats

NORMALIZE: NormalizeStats = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
THREAT_MODEL = ThreatModel(eps=8 / 255, normalize=NORMALIZE)


def found(count: int = 4) -> RobustnessReport:
    return RobustnessReport(
        suite="two",
        threat_model=THREAT_MODEL,
        flags={
            "clean": torch.tensor([True, True, True, False])[:count],
            "fgsm": torch.tensor([True, True, False, False])[:count],
            "pgd": torch.tensor([True, False, False, False])[:count],
        },
        attacks={
            "fgsm": FGSM(THREAT_MODEL).settings(),
            "pgd": PGD(THREAT_MODEL, steps=20).settings(),
        },
        seed=3,
        warnings=["beware"],
        notes=["by the way"],
        labels=torch.tensor([0, 0, 1, 1])[:count],
        predictions={"clean": torch.tensor([0, 0, 1, 0])[:count]},
        data_digest="abc",
        batch_size=2,
        device="cpu",
    )


def test_accuracies_are_percentages_and_the_last_attack_holds_the_worst_case() -> None:
    assert (found().clean_accuracy, found().robust_accuracy) == (75.0, 25.0)


def test_every_printed_number_carries_its_label() -> None:
    numbers, warning, note = str(found()).splitlines()
    assert numbers == "clean 75.0 %, robust 25.0 % (two, Linf 8/255, 4 images)"
    assert warning == "warning: beware"
    assert note == "note: by the way"
    assert found(1).label == "two, Linf 8/255, 1 image"


def test_a_thousand_images_are_written_with_a_comma() -> None:
    flags = {"clean": torch.ones(1000).bool(), "pgd": torch.zeros(1000).bool()}
    many = RobustnessReport(suite="s", threat_model=THREAT_MODEL, flags=flags)
    assert many.label.endswith("1,000 images")


def test_json_holds_rows_settings_versions_and_flags() -> None:
    content = json.loads(found().to_json(name="mine"))
    (row,) = content["rows"]
    assert row["name"] == "mine"
    assert (row["clean_accuracy"], row["robust_accuracy"]) == (75.0, 25.0)
    assert (row["suite"], row["eps"], row["eps_text"]) == ("two", 8 / 255, "8/255")
    assert content["threat_model"]["normalize"]["std"] == [0.2, 0.2, 0.2]
    assert content["attacks"]["fgsm"]["robust_accuracy"] == 50.0
    assert content["attacks"]["pgd"]["steps"] == 20
    assert content["seed"] == 3
    assert content["warnings"] == ["beware"]
    assert content["notes"] == ["by the way"]
    assert (content["batch_size"], content["device"]) == (2, "cpu")
    assert content["versions"]["lightly-adv"] == __version__
    assert content["versions"]["lightly"] == importlib.metadata.version("lightly")
    assert torch.__version__.startswith(content["versions"]["torch"])
    assert content["flags"]["pgd"] == [1, 0, 0, 0]
    assert content["data"] == {"digest": "abc", "num_samples": 4}
    assert content["intervals"]["clean"] == list(statistics.wilson(3, 4))
    assert content["predictions"] == {"clean": [0, 0, 1, 0]}
    assert [row["robust_accuracy"] for row in content["per_class"]] == [50.0, 0.0]


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    named = dataclasses.replace(found(), name="mine")
    named.save(path)
    again = RobustnessReport.load(path)
    assert again.to_json() == named.to_json()
    assert str(again) == str(named)
    assert (again.name, again.threat_model) == ("mine", THREAT_MODEL)


def test_the_base_loads_a_report_of_any_kind(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    found().save(path)
    again = Report.load(path)
    assert isinstance(again, RobustnessReport)
    assert again.to_json() == found().to_json()
    text = found().to_json().replace("RobustnessReport", "OtherReport")
    with pytest.raises(ValueError, match=r"'OtherReport', expected .*'EncoderReport'"):
        Report.from_json(text)
    with pytest.raises(
        ValueError, match=r"'OtherReport', expected .*'UnforeseenReport'"
    ):
        SweepReport.from_json(text)


def test_a_report_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'RobustnessReport'.*'EncoderReport'"):
        EncoderReport.from_json(found().to_json())


def test_without_labels_there_is_nothing_per_class() -> None:
    flags = {"clean": torch.ones(2).bool(), "pgd": torch.zeros(2).bool()}
    few = RobustnessReport(suite="s", threat_model=THREAT_MODEL, flags=flags)
    content = json.loads(few.to_json())
    assert content["labels"] is None
    assert "per_class" not in content


def test_distances_are_written_as_in_papers() -> None:
    written = {8 / 255: "8/255", 0.25 / 255: "0.25/255", 0.031: "0.031", 0.0: "0"}
    assert {value: formatting.fraction(value) for value in written} == written
    assert formatting.fraction(12.0) == "12"
    assert formatting.ball(ThreatModel(norm="L2", eps=128 / 255)) == "L2 128/255"
