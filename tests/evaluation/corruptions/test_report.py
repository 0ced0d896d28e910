"""The report: means, text, table, JSON and figure."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from lightly_adv.evaluation import statistics
from lightly_adv.evaluation.corruptions import COMMON, PUBLISHED, CorruptionReport


def report(names: tuple[str, ...] = PUBLISHED) -> CorruptionReport:
    """Return a report where corruption k breaks k of 20 images, and then 1 more."""
    order = list(PUBLISHED)
    flags = {
        name: torch.stack(
            [torch.arange(20) >= order.index(name) + extra for extra in (0, 1)]
        )
        for name in names
    }
    return CorruptionReport(
        clean=torch.ones(20, dtype=torch.bool),
        flags=flags,
        severities=(2, 4),
        levels={"motion_blur": [(6, 1.5), (8, 2)]},
        image_size=(32, 32),
        seed=3,
        warnings=["one"],
        data_digest="abc",
    )


def test_means() -> None:
    found = report()
    assert found.accuracies["shot_noise"] == (95.0, 90.0)
    # Corruption k has accuracy 100 - 5 k - 2.5.
    assert found.mean_accuracy == pytest.approx(97.5 - 5 * 9)
    assert found.common_accuracy == pytest.approx(97.5 - 5 * 7)
    assert found.mean_corruption_error == pytest.approx(2.5 + 5 * 9)
    assert report(COMMON).common_accuracy == report(COMMON).mean_accuracy
    assert report(COMMON[:14]).common_accuracy is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            PUBLISHED,
            "mean over 19 corruptions 52.5 %, over the 15 common 62.5 % (",
        ),
        (COMMON, "mean over 15 corruptions 62.5 % ("),
        (("fog",), "clean 100.0 %, fog 52.5 % ("),
    ],
)
def test_text(names: tuple[str, ...], words: str) -> None:
    first, *others = str(report(names)).splitlines()
    assert words in first
    assert first.endswith("(C-style, severities 2 4, 20 images)")
    assert others == ["warning: one"]
    assert "CIFAR-10-C" not in first


def test_json_and_table() -> None:
    found = report()
    content = json.loads(found.to_json(name="mine"))
    (row,) = content["rows"]
    assert row["name"] == "mine"
    assert row["clean_accuracy"] == 100
    assert row["robust_accuracy"] == pytest.approx(found.mean_accuracy)
    assert row["suite"] == "mean over 19 corruptions, C-style, severities 2 4"
    assert row["fog_accuracy"] == pytest.approx(found.table()[9]["mean"])
    assert content["data"] == {"digest": "abc", "num_samples": 20}
    assert content["clean_interval"] == list(statistics.wilson(20, 20))
    members = {member["name"]: member for member in content["members"]}
    shot_noise = members["shot_noise"]["intervals"]
    assert shot_noise == [list(statistics.wilson(right, 20)) for right in (19, 18)]
    assert tuple(members) == PUBLISHED
    assert content["seed"] == 3
    assert content["levels"]["motion_blur"] == [[6, 1.5], [8, 2]]
    assert content["flags"]["shot_noise"][1] == [0, 0, *[1] * 18]
    assert found.table()[1] == {
        "corruption": "shot_noise",
        "2": 95.0,
        "4": 90.0,
        "mean": 92.5,
    }


def test_what_was_written_is_read() -> None:
    found = report()
    again = CorruptionReport.from_json(found.to_json(name="mine"))
    assert again.to_json() == found.to_json(name="mine")
    assert again.to_markdown() == found.to_markdown()
    with pytest.raises(ValueError, match=r"severities is \[2, 4, 5\]"):
        CorruptionReport.from_json(found.to_json().replace("[2, 4]", "[2, 4, 5]"))


def test_markdown_is_a_table() -> None:
    lines = report().to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 1 + 19 + 1
    assert {row.count("|") for row in rows} == {5}
    assert "| fog | 55.0 | 50.0 | 52.5 |" in rows
    assert rows[-1] == "| mean | 55.0 | 50.0 | 52.5 |"


def test_figure() -> None:
    (axes,) = report().figure().axes
    assert "shot noise" in [label.get_text() for label in axes.get_yticklabels()]
    texts = [text.get_text() for text in axes.texts]
    numbers = [float(text) for text in texts if "." in text]
    # 19 corruptions and their mean, at two severities and their mean.
    assert len(numbers) == 20 * 3
    assert math.isclose(numbers[-1], 52.5)


def test_a_folder_is_named_without_its_path() -> None:
    found = dataclasses.replace(report(("fog",)), source="/data/CIFAR-10-C")
    assert found.row()["suite"] == "fog, CIFAR-10-C, severities 2 4"
