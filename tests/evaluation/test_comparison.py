from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation import RobustnessReport, TransferReport, comparison
from lightly_adv.evaluation.comparison import PairedDifference, paired_difference
from lightly_adv.threat_model import ThreatModel
from tests import damage


def flags(count: int, **right: range) -> dict[str, Tensor]:
    found = {}
    for name, places in right.items():
        found[name] = torch.zeros(count).bool()
        found[name][list(places)] = True
    return found


def report(count: int = 400, name: str = "mine", **right: range) -> RobustnessReport:
    return RobustnessReport(
        name=name,
        suite="two",
        threat_model=ThreatModel(eps=8 / 255),
        flags=flags(count, **right),
        data_digest="a1b2",
    )


A = report(name="a", clean=range(300), fgsm=range(200), pgd=range(100))
B = report(name="b", clean=range(300), fgsm=range(220), pgd=range(160))


def test_the_better_one_is_named_whichever_comes_first() -> None:
    found = comparison.compare(A, B)
    expected = paired_difference(*(report.flags["pgd"] for report in (B, A)))
    assert found.robust == expected
    assert (
        found.conclusion
        == f"B better by 15.0 points [{expected.low:.1f}, {expected.high:.1f}]"
    )
    turned = comparison.compare(B, A)
    assert turned.conclusion.startswith("A better by 15.0 points [1")
    assert found.accuracy == {
        "clean": (75.0, 75.0),
        "fgsm": (50.0, 55.0),
        "pgd": (25.0, 40.0),
    }
    assert found.only == (0, 60)
    assert found.label == "two, Linf 8/255, 400 images"


def test_where_it_cannot_be_told_the_images_needed_are() -> None:
    one = report(clean=range(300), pgd=range(50))
    other = report(clean=range(300), pgd=range(45, 99))
    found = comparison.compare(one, other)
    assert found.needed is not None
    more = found.needed - 400
    assert found.conclusion == (
        "no difference at this sample size: about "
        f"{round(more, -3):,} images more needed to tell 1.0 points"
    )
    assert 18_000 < more < 18_500
    assert not found.notes


def test_equal_models() -> None:
    assert comparison.compare(A, A).conclusion == (
        "no difference: both get the same images right"
    )
    one = report(clean=range(300), pgd=range(50))
    other = report(clean=range(300), pgd=range(50, 100))
    assert "none to be seen: each alone gets 50 right" in (
        comparison.compare(one, other).conclusion
    )


def test_few_differing_images_are_told() -> None:
    other = report(clean=range(300), fgsm=range(200), pgd=range(104))
    (note,) = comparison.compare(A, other).notes
    assert "the models differ on 4 images only" in note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_digest": "c3d4"}, r"different images .* Evaluate one of"),
        ({"data_digest": ""}, "'b' has no data_digest.* Evaluate the checkpoint"),
        (
            {"threat_model": ThreatModel(eps=4 / 255)},
            "A has Linf 8/255, B Linf 4/255.* --eps",
        ),
        ({"threat_model": ThreatModel("L2", 1.0)}, "threat model: .* --norm"),
        (
            {"threat_model": ThreatModel(eps=8 / 255, bounds=(-1, 1))},
            r"Linf 8/255 in \[-1, 1\]",
        ),
        ({"suite": "apgd"}, r"suite: A has two \(fgsm, pgd\), B apgd .* --suite"),
        (
            {"flags": flags(1, clean=range(1), fgsm=range(1), pgd=range(1))},
            "A has 400, B 1.*--max_s",
        ),
        ({"flags": flags(400, clean=range(9), pgd=range(9))}, r"B two \(pgd\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        comparison.compare(A, dataclasses.replace(B, **changes))


def test_only_reports_of_attacks_are_compared() -> None:
    other: Any = TransferReport(
        names=("a", "b"),
        clean_accuracy=(1.0, 1.0),
        accuracy=((1.0, 1.0), (1.0, 1.0)),
        cosine=((1.0, 0.0), (0.0, 1.0)),
        attack={},
        threat_model=ThreatModel(eps=8 / 255),
        num_samples=4,
    )
    message = r"TransferReport.*expected a RobustnessReport.*evaluate_robustness"
    for pair in ((other, B), (A, other)):
        with pytest.raises(TypeError, match=message):
            comparison.compare(*pair)


CONTENT: dict[str, Any] = json.loads(A.to_json())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("[1]", "is not the report of one evaluation"),
        ('{"rows": []}', "is not the report of one evaluation"),
        (json.dumps({k: v for k, v in CONTENT.items() if k != "data"}), "data is None"),
    ],
)
def test_files_that_are_no_reports(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError, match=r"a\.json; expected the report"):
        comparison.compare(path, B)
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        comparison.compare(path, B)


def change(path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(CONTENT)
    *keys, last = path.split(".")
    inner: Any = changed
    for key in keys:
        inner = inner[key]
    inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kind", "EncoderReport"),
        ("suite", 5),
        ("threat_model", None),
        ("threat_model", {"norm": "L2", "eps": 1}),
        ("threat_model.bounds", [0]),
        ("threat_model.bounds", 1),
        ("threat_model.bounds", ["0", "1"]),
        ("flags", [1, 0]),
        ("flags", {"pgd": [1]}),
        ("flags", {"clean": []}),
        ("flags.pgd", [1] * 399),
        ("flags.pgd", ["1"] * 400),
        ("flags.pgd", 1),
        ("data", 5),
        ("attack_order", ["clean", "pgd"]),
        ("attack_order", ["clean", "pgd", "fgsm"]),
        ("attack_order", "clean"),
        ("attacks", {"pgd": 5}),
        ("checks", [{"name": "a"}]),
        ("labels", [1, 2]),
        ("predictions", {"clean": [1, 2]}),
        ("seed", "0"),
        ("warnings", "none"),
    ],
)
def test_reports_with_damage(tmp_path: Path, path: str, value: Any) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(change(path, value)))
    (field, *_) = path.split(".")
    with pytest.raises(ValueError, match=rf"a\.json is not .*\b{field}\b"):
        comparison.compare(file, B)


def test_each_attack_leaves_only_what_those_before_have_left(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(change("flags.pgd", [1] * 400)))
    with pytest.raises(ValueError, match="leave only images"):
        comparison.compare(file, B)


def test_order_of_keys_means_nothing(tmp_path: Path) -> None:
    """The last attack by name is not the last one that ran."""
    first, second = (
        report(name=name, clean=range(300), pgd=range(pgd), fgsm=range(fgsm))
        for name, pgd, fgsm in (("a", 250, 100), ("b", 200, 160))
    )
    expected = comparison.compare(first, second).to_json()
    path = tmp_path / "b.json"
    path.write_text(json.dumps(json.loads(second.to_json()), sort_keys=True))
    assert comparison.compare(first, path).to_json() == expected
    assert "B better by 15.0 points" in expected


def test_whatever_is_damaged_is_reported_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_difference = PairedDifference(0.0, 0.0, 0.0)
    monkeypatch.setattr(comparison, "paired_difference", lambda *_: no_difference)
    path, whole = tmp_path / "a.json", report(20, clean=range(9), pgd=range(4))
    messages = damage.complaints(
        path,
        json.loads(whole.to_json()),
        lambda: comparison.compare(path, whole),
    )
    assert sum("a.json" in text for text in messages) > 200
    assert not any("\n" in text for text in messages)


def test_the_json_tells_all() -> None:
    found = json.loads(comparison.compare(A, B).to_json())
    assert found["names"] == ["a", "b"]
    assert found["conclusion"].startswith("B better by 15.0 points")
    assert found["differences"]["pgd"]["mean"] == pytest.approx(15.0)
    assert found["only"] == [0, 60]
