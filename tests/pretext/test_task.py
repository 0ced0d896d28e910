from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv.pretext import PretextTask


class Places(PretextTask):
    """Several answers for each image: one of three classes at each of two places."""

    def draw(
        self, images: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        return images, torch.randint(3, (len(images), 2), generator=generator)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.backbone(inputs)
        return logits


def test_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PretextTask(nn.Flatten())  # type: ignore[abstract]


def test_loss_is_the_mean_cross_entropy_over_all_answers() -> None:
    task = Places(nn.Identity())
    logits, targets = (
        torch.rand(4, 2, 3),
        torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]]),
    )
    losses = [
        math.log(sum(math.exp(v) for v in row)) - row[target]
        for row, target in zip(
            logits.flatten(0, 1).tolist(), targets.flatten().tolist(), strict=True
        )
    ]
    assert task.loss(logits, targets).item() == pytest.approx(sum(losses) / 8)
    assert torch.equal(task.loss(logits, targets), task.criterion(logits, targets))


def test_accuracy_is_in_percent_and_detached() -> None:
    task = Places(nn.Identity())
    logits = torch.eye(3)[torch.tensor([[0, 1], [2, 2]])].requires_grad_()
    accuracy = task.accuracy(logits, torch.tensor([[0, 1], [2, 0]]))
    assert accuracy.item() == 75.0
    assert not accuracy.requires_grad


def test_what_a_task_may_leave_as_it_is() -> None:
    task = Places(nn.Identity())
    inputs, targets = torch.rand(2, 2, 3), torch.tensor([[0, 1], [2, 2]])
    assert torch.equal(task.logits(inputs, targets), task(inputs))
    assert torch.equal(task.labels(targets), targets)
    with pytest.raises(NotImplementedError, match=r"Places does not implement restore"):
        task.restore(inputs, targets)


class Told(Places):
    """The question depends on what was drawn, and so do the answers."""

    def logits(self, inputs: Tensor, targets: Tensor) -> Tensor:
        found: Tensor = self(inputs) + targets[..., None]
        return found

    def labels(self, targets: Tensor) -> Tensor:
        return (targets + 1) % 3


def test_loss_and_accuracy_are_made_of_logits_and_labels() -> None:
    task = Told(nn.Identity())
    inputs, targets = torch.rand(4, 2, 3), torch.randint(3, (4, 2))
    logits = inputs + targets[..., None]
    labels = (targets + 1) % 3
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert torch.equal(task.loss(inputs, targets), expected)
    right = 100 * (logits.argmax(dim=2) == labels).float().mean()
    assert torch.equal(task.accuracy(logits, targets), right)
