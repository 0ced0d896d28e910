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
from lightly_adv.pretext import JigsawTask, RotationTask, SelfieTask

SCRIPTS = Path(__file__).parents[2] / "examples" / "benchmarks"
NAMES = ("interleaved", "operations", "paper_code", "pretext_step")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    np.random.seed(0)
    yield {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        sys.modules.pop(name, None)


def images() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_same_images_are_turned_and_shuffled(scripts: dict[str, Any]) -> None:
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


def test_operations_are_counted_in_every_pass(scripts: dict[str, Any]) -> None:
    weight = torch.rand(5, 7)
    inputs = torch.rand(3, 5, requires_grad=True)

    def step() -> None:
        loss = (inputs @ weight).square().sum()
        (grad,) = torch.autograd.grad(loss, inputs, create_graph=True)
        torch.autograd.grad(grad.square().sum(), inputs)

    # Forward, backward, and back through both.
    assert scripts["operations"].count(step) == 4 * 2 * 3 * 5 * 7


def rows(
    scripts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: str,
) -> tuple[str, dict[str, list[float]]]:
    """Run the script on little; return its first line, and the numbers by task."""
    size = ["--rounds", "1", "--steps", "2", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", ["pretext_step.py", *size, *options])
    scripts["pretext_step"].main()
    first, _, _, *lines = capsys.readouterr().out.splitlines()
    words = [line.split() for line in lines]
    return first, {task: [float(number) for number in rest] for task, *rest in words}


def test_all_tasks_take_no_pass_too_many(
    scripts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, found = rows(scripts, monkeypatch, capsys)
    assert "resnet8_tiny, batch 4, PGD-2" in first
    assert list(found) == ["rotation", "jigsaw", "selfie", "ensemble"]
    for numbers in found.values():
        assert len(numbers) == 9
        assert all(number > 0 for number in numbers)
        papers, ours = numbers[5], numbers[8]
        assert 0.99 <= papers <= 1.01, "the paper's code takes the same passes"
        assert 0.99 <= ours <= 1.01, "ideal is what a step cannot do without"


def test_another_backbone(
    scripts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--backbone", "test_resnet", "--tasks", "rotation")
    first, found = rows(scripts, monkeypatch, capsys, *options)
    assert "test_resnet, batch 4" in first
    assert list(found) == ["rotation"]
