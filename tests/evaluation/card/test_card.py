from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import torch

from lightly_adv.evaluation import ResultCard, breakdown
from lightly_adv.evaluation.card import page
from lightly_adv.evaluation.card.examples import Example
from lightly_adv.evaluation.checks import Check
from tests.evaluation.card.cards import NAMES, batches, card, report
from tests.evaluation.reading import read


def test_the_json_holds_what_others_need_to_check_the_numbers() -> None:
    data = batches()
    found = card(data, name="mine", class_names=NAMES, facts={"order": "as it comes"})
    content = json.loads(found.to_json())
    labels = torch.cat([labels for _, labels in data])
    assert content["rows"][0]["name"] == "mine"
    assert (content["batch_size"], content["device"]) == (10, "cpu")
    assert "| batch size | 10 |\n| device | cpu |" in found.to_markdown()
    assert content["threat_model"]["eps_text"] == "8/255"
    assert (content["order"], content["class_names"]) == ("as it comes", NAMES)
    assert content["labels"] == labels.tolist()
    assert list(content["flags"]) == ["clean", "pgd", "pgd-2"]
    attacked = torch.tensor(content["predictions"]["attacked"])
    assert ((attacked == labels).int().tolist()) == content["flags"]["pgd-2"]
    clean = torch.tensor(content["predictions"]["clean"])
    assert ((clean == labels).int().tolist()) == content["flags"]["clean"]
    assert content["confusion"] == breakdown.confusion(labels, attacked, classes=3)
    assert 0 < sum(content["flags"]["pgd-2"]) < sum(content["flags"]["clean"]) < 24
    assert found.to_json().count("\n") == len(content) + 2


def test_the_data_digest_does_not_hang_on_the_batches() -> None:
    digests = {report(batches(size=size)).data_digest for size in (3, 10, 24)}
    assert len(digests) == 1
    assert digests != {report(batches(count=23)).data_digest}
    relabelled = [(images, labels.roll(1)) for images, labels in batches()]
    assert digests != {report(relabelled).data_digest}


def test_the_page_loads_nothing() -> None:
    text = card(batches(), class_names=NAMES, curve_samples=4).to_html()
    assert not re.search(r"https?://|<script|<link|@import|url\(|srcset", text)
    sources = re.findall(r'src="([^"]*)"', text)
    assert len(sources) == 4 * 3
    for source in sources:
        kind, encoded = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(encoded).startswith(b"\x89PNG")
    assert "prefers-color-scheme: dark" in text


def test_the_page_is_whole_and_its_text_is_escaped() -> None:
    text = card(batches(), name="<mine>", class_names=NAMES, curve_samples=4).to_html()
    assert "<mine>" not in text
    assert "<dog>" not in text
    assert "<dog>" in read(text)


def test_what_was_not_measured_is_not_there() -> None:
    bare = card(batches(), example_count=0)
    assert json.loads(bare.to_json())["curves"] is None
    for text in (bare.to_html(), bare.to_markdown()):
        assert "Radius and steps" not in text
        assert "Images" not in text


def test_a_card_of_one_image() -> None:
    found = card(batches(count=2, size=1)[1:], curve_samples=9, example_count=9)
    content = json.loads(found.to_json())
    assert content["data"]["num_samples"] == 1
    assert (content["curves"]["num_samples"], len(content["examples"])) == (1, 1)
    assert "1 image" in found.to_markdown()
    assert "Radius and steps" in found.to_html()


def test_a_report_without_labels_has_a_card() -> None:
    flags = {"clean": torch.ones(3).bool(), "pgd": torch.zeros(3).bool()}
    known = report(batches())
    old = type(known)(suite="s", threat_model=known.threat_model, flags=flags)
    text = ResultCard(old).to_html()
    assert "Classes" not in text
    assert "0.0 %" in text


def test_markdown_holds_the_same_numbers() -> None:
    found = card(batches(), class_names=NAMES, curve_samples=4)
    text = found.to_markdown()
    assert f"| clean accuracy | {found.report.clean_accuracy:.1f} [" in text
    assert "| a\\|b |" in text
    assert "&lt;dog>" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith(" |")
    curve = json.loads(found.to_json())["curves"]["eps"]
    for point in curve:
        assert f"| {point['eps_text']} | {point['robust_accuracy']:.1f} [" in text


def test_checks_and_warnings_come_first() -> None:
    known = report(batches())
    check = Check("more steps", "WARN", "5 of 9 images fall", "Use apgd.")
    doubted = type(known)(
        suite=known.suite,
        threat_model=known.threat_model,
        flags=known.flags,
        warnings=[check.warning],
        checks=[check],
    )
    text = ResultCard(doubted).to_html()
    assert text.index("Read these numbers with care") < text.index("Attacks")
    assert '<span class="status WARN">WARN</span>' in text
    assert "| more steps | WARN | 5 of 9 images fall | Use apgd. |" in (
        ResultCard(doubted).to_markdown()
    )


def test_files_are_written_beside_each_other(tmp_path: Path) -> None:
    found = card(batches()).write(tmp_path / "new" / "mine 0.5")
    assert [path.name for path in found] == [
        "mine 0.5.html",
        "mine 0.5.md",
        "mine 0.5.json",
    ]
    assert sorted(tmp_path.rglob("*.*")) == sorted(found)


def test_with_many_classes_the_matrix_is_left_out() -> None:
    labels = torch.arange(200)
    flags = {"clean": torch.ones(200).bool(), "pgd": torch.zeros(200).bool()}
    predictions = {"clean": labels, "attacked": labels.roll(1)}
    known = report(batches())
    many = type(known)(
        suite="s",
        threat_model=known.threat_model,
        flags=flags,
        labels=labels,
        predictions=predictions,
    )
    content = json.loads(ResultCard(many).to_json())
    assert "confusion" not in content
    assert len(content["confused"]) == 10
    text = ResultCard(many).to_html()
    assert "Most often confused" in text
    assert "175 more are in the JSON file" in text


@pytest.mark.parametrize("size", [(1, 6, 6), (3, 400, 300)])
def test_grey_and_large_images_are_shown(size: tuple[int, int, int]) -> None:
    clean = torch.rand(size)
    shown = Example(0, "pgd", 0, 0, 1, clean, (clean + 0.03).clamp(max=1))
    text = page.shown(shown, None)["clean"]
    header = base64.b64decode(text)[16:24]
    width, height = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    assert (height, width) == ((6, 6) if size[0] == 1 else (160, 120))
