"""The comparison with the paper's way of working: same losses, all tasks run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightly_adv import functional
from lightly_adv.models.pretext import JigsawTask, RotationTask, SelfieTask

SCRIPTS = Path(__file__).parents[2] / "examples" / "benchmarks"
NAMES = ("paper_code", "pretext_step")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    np.random.seed(0)
    yield {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)


def images() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_same_pictures_are_turned_and_shuffled(scripts: dict[str, Any]) -> None:
    paper = scripts["paper_code"]
    turned, turns = paper.draw_rotation(images())
    assert torch.equal(RotationTask("resnet8_tiny").restore(turned, turns), images())
    jigsaw = JigsawTask("resnet8_tiny", grid=4)
    shuffled, classes = paper.draw_jigsaw(images(), jigsaw.permutations.numpy())
    assert len(set(classes.tolist())) > 1
    assert torch.equal(jigsaw.restore(shuffled, classes), images())


def test_the_same_loss_of_selfie(scripts: dict[str, Any]) -> None:
    torch.manual_seed(0)
    selfie = SelfieTask("resnet8_tiny", depth=1).eval()
    order = np.random.permutation(16)
    found = scripts["paper_code"].selfie_loss(selfie, images(), order)
    expected = selfie.loss(images(), torch.from_numpy(order).expand(6, -1))
    torch.testing.assert_close(found, expected)


def test_the_same_diversity(scripts: dict[str, Any]) -> None:
    torch.manual_seed(0)
    grads = [torch.randn(4, 3, 5, 5) for _ in range(3)]
    found = scripts["paper_code"].log_det(grads)
    torch.testing.assert_close(found, functional.gradient_diversity(grads))


@pytest.mark.slow
def test_all_tasks_are_timed(
    scripts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = ["--rounds", "1", "--steps", "1", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", ["pretext_step.py", *size])
    scripts["pretext_step"].main()
    lines = capsys.readouterr().out.splitlines()
    assert "PGD-1" in lines[0]
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:]}
    assert list(rows) == ["rotation", "jigsaw", "selfie", "ensemble"]
    for numbers in rows.values():
        assert len(numbers) == 7
        assert all(float(number) > 0 for number in numbers)
