from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightly_adv.audit import Audit, audit
from lightly_adv.cli.main import main

ROOT = Path(__file__).parents[2]


def names(path: Path, text: str, suffix: str = "md") -> list[str]:
    path = path / f"table.{suffix}"
    path.write_text(text, encoding="utf-8")
    return [finding.name for finding in audit(path).findings]


SOUND = {
    # Values in the order of published tables: nothing in them is impossible.
    "wide": """
| method | Clean | FGSM | PGD-20 | CW | AA |
|---|---|---|---|---|---|
| TRADES | 84.92 | 61.06 | 56.61 | 54.20 | 53.08 |
| AT | 87.14 ± 0.2 | 56.1 ± 0.3 | 48.8 ± 0.4 | 47.9 | 44.04 |
""",
    "by eps": """
| model (eps/255) | 0 | 2 | 4 | 8 | 16 |
|---|---|---|---|---|---|
| a | 90.1 | 80.2 | 61.5 | 30.3 | 4.2 |
| b | 70.0 | 40.0 | 10.0 | 0.0 | 0.0 |
""",
    "attacks as rows": """
| Attack | Standard | TRADES |
|:--|--:|--:|
| Clean | 95.0 | 84.9 |
| PGD-10 (8/255) | 0.0 | 57.0 |
| AutoAttack (8/255) | 0.0 | 53.1 |
""",
    "seeds in rows": """
| model | seed | clean | AA |
|---|---|---|---|
| a | 0 | 80.0 | 50.0 |
| a | 1 | 79.0 | 51.5 |
""",
    "two data sets": """
| model | CIFAR-10 clean | CIFAR-10 AA | CIFAR-100 clean | CIFAR-100 AA |
|---|---|---|---|---|
| a | 85.0 | 52.0 | 60.0 | 27.0 |
""",
    "counts": """
| suite | clean | APGD-CE | APGD-T | Square |
|---|---|---|---|---|
| of 200 images | 114 | 67 | 64 | 64 |
""",
    "seconds and passes": """
| model | clean | AA 8/255 | passes | seconds under AA |
|---|---|---|---|---|
| a | 85.0 | 52.0 | 2000 | 75 |
""",
    "shares": """
| model | clean | L2 0.5 | PGD-20 |
|---|---|---|---|
| a | 0.85 | 0.61 | 0.52 |
""",
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_table(tmp_path: Path, name: str) -> None:
    assert names(tmp_path, SOUND[name]) == []


def test_nothing_is_found_in_our_own_results() -> None:
    assert audit(ROOT / "docs" / "benchmarks.md").findings == []


BROKEN = {
    "rises with eps": "model,eps=2/255,eps=4/255,eps=8/255\na,50.1,55.3,20.0",
    "robust above clean": "model,clean,PGD-20\na,50.1,55.3",
    "AutoAttack above a weaker attack": "model,clean,PGD-20,AA\na,80,45.0,48.2",
    "stronger attack above weaker one": "model,FGSM,PGD-20\na,41.0,48.2",
    "equal at different eps": "model,PGD 2/255,PGD 8/255\na,41.52,41.52",
    "eps = 0 differs from clean": "model,clean,eps=0,eps=8/255\na,81.0,79.1,40.0",
    "gradients mislead": "model,clean,PGD-20,Square\na,81.0,79.1,40.0",
    "robust to grey images": "model,Linf eps=0.1,Linf eps=0.5\na,81.0,61.0",
    "out of range": "model,clean,PGD-20\na,181.5,79.1",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_is_found(tmp_path: Path, name: str) -> None:
    assert names(tmp_path, BROKEN[name], "csv") == [name]


def test_a_flat_curve_is_found(tmp_path: Path) -> None:
    table = (
        "attack,eps,accuracy\nPGD-20,1/255,53.0\nPGD-20,4/255,52.8\nPGD-20,16/255,52.5"
    )
    assert names(tmp_path, table, "csv") == ["flat curve"]


def test_more_steps_and_restarts_are_stronger(tmp_path: Path) -> None:
    table = "model,PGD-10,PGD-100,PGD-100 5 restarts\na,50.0,52.1,49.0"
    (finding,) = _audit(tmp_path, table, "csv").findings
    assert "'PGD-100'" in finding.message
    assert "'PGD-10'" in finding.message


def test_a_long_table_and_its_transposed_one_say_the_same(tmp_path: Path) -> None:
    long = "model,attack,eps,robust_accuracy\na,PGD-20,2/255,40\na,PGD-20,4/255,50.5"
    wide = "model,PGD-20 2/255,PGD-20 4/255\na,40,50.5"
    rows = "attack,a\nPGD-20 2/255,40\nPGD-20 4/255,50.5"
    for table in (long, wide, rows):
        assert names(tmp_path, table, "csv") == ["rises with eps"]


def test_a_finding_names_its_cells(tmp_path: Path) -> None:
    table = (
        "\nWords.\n\n| model | clean | AA |\n|--|--|--|\n| **ours** | 50.1 | 55.3% |\n"
    )
    (finding,) = _audit(tmp_path, table).findings
    for part in ("ours", "'AA'", "'clean'", "55.3", "50.1", "line 4"):
        assert part in finding.message


def test_rounding_and_spread_are_no_findings(tmp_path: Path) -> None:
    assert names(tmp_path, "m,PGD-10,PGD-20\na,50,51", "csv") == []
    assert names(tmp_path, "m,PGD-10,PGD-20\na,50.0 ± 1.0,51.9 ± 0.8", "csv") == []
    assert names(tmp_path, "m,PGD-10,PGD-20\na,50.0,51.9", "csv") != []


def test_results_of_this_package_can_be_read(tmp_path: Path) -> None:
    row = {"name": "a", "clean_accuracy": 60.0, "suite": "pgd-20", "norm": "Linf"}
    rows = [
        {**row, "robust_accuracy": 30.0, "eps": 4 / 255, "num_samples": 1000},
        {**row, "robust_accuracy": 35.0, "eps": 8 / 255, "num_samples": 1000},
    ]
    found = _audit(tmp_path, json.dumps({"rows": rows}), "json")
    assert [finding.name for finding in found.findings] == ["rises with eps"]
    assert "the number of images" not in found.not_stated


@pytest.mark.parametrize(
    "content",
    [
        {"a": {"clean": 50.1, "pgd-20": 55.3}, "b": {"clean": 80.0, "pgd-20": 40.0}},
        {"clean_accuracy": 50.1, "robust_accuracy": 55.3, "flags": {"clean": [1, 0]}},
        {"results": [{"attack": "clean", "acc": 50.1}, {"attack": "AA", "acc": 55.3}]},
    ],
)
def test_other_json_can_be_read(tmp_path: Path, content: object) -> None:
    assert names(tmp_path, json.dumps(content), "json") == ["robust above clean"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    missing = _audit(tmp_path, "model,clean,PGD eps=8\na,80,40", "csv").not_stated
    assert "the unit of eps, as in 8/255" in missing
    assert "the number of images" in missing
    assert "the number of steps" in missing
    assert "restarts" in missing
    text = "1,000 test images, Linf, one restart, last epoch.\n\n"
    table = text + "| model | clean | PGD-20 8/255 |\n|--|--|--|\n| a | 80 | 40 |\n"
    assert _audit(tmp_path, table).not_stated == []


@pytest.mark.parametrize(
    ("text", "suffix", "word"),
    [
        ("model,name\na,b", "csv", "no accuracies"),
        ("", "csv", "no accuracies"),
        ("model,clean\na,-", "csv", "no accuracies"),
        ("{", "json", "no JSON"),
    ],
)
def test_no_numbers(tmp_path: Path, text: str, suffix: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        _audit(tmp_path, text, suffix)


def test_a_spreadsheet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(ValueError, match="Save a spreadsheet as CSV"):
        audit(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "table.csv", tmp_path / "audit.json"
    path.write_text(BROKEN["robust above clean"])
    assert main(["audit", str(path), "--out", str(out)]) == 1
    assert "FAIL robust above clean" in capsys.readouterr().out
    (finding,) = json.loads(out.read_text())["findings"]
    assert finding["name"] == "robust above clean"
    path.write_text("model,clean,PGD-20\na,50.1,15.3")
    assert main(["audit", str(path)]) == 0
    assert "nothing in it is impossible" in capsys.readouterr().out
    assert main(["audit", str(tmp_path / "missing.csv")]) == 1
    assert "missing.csv" in capsys.readouterr().err


def _audit(path: Path, text: str, suffix: str = "md") -> Audit:
    path = path / f"table.{suffix}"
    path.write_text(text, encoding="utf-8")
    return audit(path)
