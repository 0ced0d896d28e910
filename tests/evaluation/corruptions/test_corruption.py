"""The registry of corruptions, and how its names are resolved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lightly_adv.evaluation import evaluate_corruptions, evaluate_unforeseen
from lightly_adv.evaluation.corruptions import (
    COMMON,
    PUBLISHED,
    Corruption,
    corrupt,
    corruption,
    create_corruption,
    list_corruptions,
)


def test_there_are_fifteen_and_four() -> None:
    assert len(COMMON) == 15
    extra = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
    assert [*COMMON, *extra] == list(PUBLISHED)
    assert set(PUBLISHED) <= set(list_corruptions())
    assert all(create_corruption(name).name == name for name in PUBLISHED)


def test_a_corruption_has_five_levels() -> None:
    with pytest.raises(ValueError, match=r"'mine' has 1 levels; expected one for each"):
        Corruption("mine", lambda images, draws: images, ((0.5,),))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["gausian_noise"], "Did you mean 'gaussian_noise'"),
        (["fog", "fog"], "each once"),
        ([], "one or more"),
        ("fog", r"expected a list, \['fog'\]"),
        ("comon", "Unknown corruption 'comon'"),
    ],
)
def test_refused_names(names: str | list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        corruption.resolve(names)


@pytest.mark.parametrize("severities", [[6], [0, 1], [], [1, 1], [1.5]])
def test_refused_severities(severities: list[int]) -> None:
    with pytest.raises(ValueError, match="expected one or more of 1, 2, 3, 4, 5"):
        corruption.check_severities(severities)


CODE = """
from lightly_adv.evaluation.corruptions import Corruption
from lightly_adv.evaluation.unforeseen import Ball, Parametrization, UnforeseenAttack

def dark():
    levels = ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,))
    return Corruption("dark", lambda images, draws, share: share * images, levels)

def shifted(images, eps, generator, /):
    space = Ball("Linf", eps)
    start = space.start(images.new_empty(len(images), 1, 1, 1), generator)
    return Parametrization(start, space, lambda z: (images + z).clamp(0, 1))

def shift():
    return UnforeseenAttack(name="shift", parametrize=shifted, eps=(0.0, 0.1), unit="p")
"""


def test_plugins_add_corruptions_and_unforeseen_attacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "plugdark-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plugdark\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text(
        "[lightly_adv.corruptions]\ndark = plugdark:dark\n"
        "[lightly_adv.unforeseen_attacks]\nshift = plugdark:shift\n"
    )
    (tmp_path / "plugdark.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "dark" in list_corruptions()
    images = torch.ones(2, 3, 8, 8)
    expected = (255 * images * 0.5).round() / 255
    assert torch.equal(corrupt(images, "dark", 5), expected)
    assert torch.equal(corrupt(images, create_corruption("dark"), 5), expected)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    loader = [(torch.rand(4, 3, 8, 8), torch.arange(4) % 2)]
    report = evaluate_corruptions(model, loader, ["dark", "fog"], severities=[1, 5])
    assert list(report.flags) == ["dark", "fog"]
    attacked = evaluate_unforeseen(model, loader, ["shift"], steps=1)
    assert torch.equal(attacked.flags["shift"][0], attacked.clean)
