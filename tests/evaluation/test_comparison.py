from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightly_adv.evaluation import RobustnessReport, comparison
from lightly_adv.evaluation.differences import PairedDifference, paired_difference
from lightly_adv.threat_model import ThreatModel
from tests import damage


def flags(count: int, **right: range) -> dict[str, Tensor]:
    found = {}
    for name, places in right.items():
        found[name] = torch.zeros(count).bool()
        found[name][list(places)] = True
    return found


def content(count: int = 400, name: str = "mine", **right: range) -> dict[str, Any]:
    found = RobustnessReport(
        suite="two",
        threat_model=ThreatModel(eps=8 / 255),
        flags=flags(count, **right),
        data_digest="a1b2",
    )
    read: dict[str, Any] = json.loads(found.to_json(name=name))
    return read


A = content(name="a", clean=range(300), fgsm=range(200), pgd=range(100))
B = content(name="b", clean=range(300), fgsm=range(220), pgd=range(160))


def test_the_better_one_is_named_whichever_comes_first() -> None:
    found = comparison.compare(A, B)
    expected = paired_difference(
        *(torch.tensor(each["flags"]["pgd"]) for each in (B, A))
    )
    assert found.robust == expected
    assert (
        found.verdict
        == f"B better by 15.0 points [{expected.low:.1f}, {expected.high:.1f}]"
    )
    turned = comparison.compare(B, A)
    assert turned.verdict.startswith("A better by 15.0 points [1")
    assert found.accuracy == {
        "clean": (75.0, 75.0),
        "fgsm": (50.0, 55.0),
        "pgd": (25.0, 40.0),
    }
    assert found.only == (0, 60)
    assert found.label == "two, Linf 8/255, 400 images"


def test_where_it_cannot_be_told_the_images_needed_are() -> None:
    one = content(clean=range(300), pgd=range(50))
    other = content(clean=range(300), pgd=range(45, 99))
    found = comparison.compare(one, other)
    assert found.needed is not None
    more = found.needed - 400
    assert found.verdict == (
        "no difference at this sample size: about "
        f"{round(more, -3):,} images more needed to tell 1.0 points"
    )
    assert 18_000 < more < 18_500
    assert not found.notes


def test_equal_models() -> None:
    assert comparison.compare(A, A).verdict == (
        "no difference: both get the same images right"
    )
    one = content(clean=range(300), pgd=range(50))
    other = content(clean=range(300), pgd=range(50, 100))
    assert "none to be seen: each alone gets 50 right" in (
        comparison.compare(one, other).verdict
    )


def test_few_differing_images_are_told() -> None:
    other = content(clean=range(300), fgsm=range(200), pgd=range(104))
    (note,) = comparison.compare(A, other).notes
    assert "the models differ on 4 images only" in note


def change(path: str, value: Any, of: dict[str, Any] = B) -> dict[str, Any]:
    changed = copy.deepcopy(of)
    *keys, last = path.split(".")
    inner: Any = changed
    for key in keys:
        inner = inner[int(key) if key.isdigit() else key]
    inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("data.digest", "c3d4", r"different images .* Evaluate one of"),
        ("threat_model.eps_text", "4/255", "A has Linf 8/255, B Linf 4/255.* --eps"),
        ("threat_model.norm", "L2", r"threat model: .* --norm"),
        ("threat_model.bounds", [-1, 1], r"Linf 8/255 in \[-1, 1\]"),
        ("rows.0.suite", "apgd", r"suite: A has two \(fgsm, pgd\), B apgd .* --suite"),
        ("flags", {"clean": [1], "fgsm": [1], "pgd": [1]}, "A has 400, B 1.*--max_s"),
        ("flags", {"clean": [1] * 400, "pgd": [1] * 400}, r"B two \(pgd\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(path: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        comparison.compare(A, change(path, value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ("[1]", "is not the report of one evaluation"),
        ('{"rows": []}', "is not the report of one evaluation"),
        (json.dumps({**A, "rows": A["rows"] * 2}), "not the report of one"),
        (json.dumps({k: v for k, v in A.items() if k != "data"}), "an older version"),
        (json.dumps({**A, "data": {"digest": ""}}), "Evaluate the checkpoint again"),
    ],
)
def test_files_that_are_no_reports(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError, match=r"a\.json; expected the report"):
        comparison.read(path)
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        comparison.read(path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("rows", 5, "'rows' in it is 5, expected a list of one row"),
        ("rows", [5], r"'rows' in it is \[5\]"),
        ("rows", [{"name": "a"}], "with name and suite"),
        ("threat_model", None, "'threat_model' in it is None"),
        (
            "threat_model",
            {"norm": "L2", "eps_text": "1"},
            "expected norm, eps_text and",
        ),
        ("threat_model.bounds", [0], "two bounds"),
        ("threat_model.bounds", 1, "two bounds"),
        ("threat_model.bounds", ["0", "1"], "two bounds"),
        ("flags", [1, 0], r"'flags' in it is \[1, 0\], expected 0 or 1"),
        ("flags", {"pgd": [1]}, "clean and after each attack"),
        ("flags", {"clean": []}, "0 or 1 for every image"),
        ("flags.pgd", [1] * 399, "0 or 1 for every image"),
        ("flags.pgd", ["1"] * 400, "0 or 1 for every image"),
        ("flags.pgd", 1, "0 or 1 for every image"),
        ("data", 5, "'data' in it is 5, expected the digest"),
        ("flags.pgd", [1] * 400, "leaves no image that one before it has broken"),
        ("attack_order", ["clean", "pgd"], "'attack_order' in it is"),
        ("attack_order", ["clean", "pgd", "fgsm"], "each after those that leave more"),
        ("attack_order", "clean", "'attack_order' in it is 'clean'"),
    ],
)
def test_reports_with_damage(tmp_path: Path, path: str, value: Any, words: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(change(path, value, A)))
    with pytest.raises(ValueError, match=words):
        comparison.read(file)


def test_order_of_keys_means_nothing(tmp_path: Path) -> None:
    """The last attack by name is not the last one that ran."""
    first, second = (
        content(name=name, clean=range(300), pgd=range(pgd), fgsm=range(fgsm))
        for name, pgd, fgsm in (("a", 250, 100), ("b", 200, 160))
    )
    expected = comparison.compare(first, second).to_json()
    for old in (False, True):
        read = []
        for each in (first, second):
            path = tmp_path / f"{each['rows'][0]['name']}.json"
            kept = {k: v for k, v in each.items() if not (old and k == "attack_order")}
            path.write_text(json.dumps(kept, sort_keys=True))
            read.append(comparison.read(path))
        assert comparison.compare(*read).to_json() == expected
        assert comparison.compare(first, read[1]).to_json() == expected
    assert "B better by 15.0 points" in expected


def test_whatever_is_damaged_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_difference = PairedDifference(0.0, 0.0, 0.0)
    monkeypatch.setattr(comparison, "paired_difference", lambda *_: no_difference)
    path, whole = tmp_path / "a.json", content(20, clean=range(9), pgd=range(4))
    needed = ("rows", "threat_model", "data", "flags", "attack_order")
    told = damage.complaints(
        path,
        {key: whole[key] for key in needed},
        lambda: comparison.compare(comparison.read(path), whole),
    )
    assert sum("a.json" in text for text in told) > 200
    assert not any("\n" in text for text in told)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(A))
    assert comparison.read(file) == A


def test_the_json_tells_all() -> None:
    found = json.loads(comparison.compare(A, B).to_json())
    assert found["names"] == ["a", "b"]
    assert found["verdict"].startswith("B better by 15.0 points")
    assert found["differences"]["pgd"]["mean"] == pytest.approx(15.0)
    assert found["only"] == {"A": 0, "B": 60}
