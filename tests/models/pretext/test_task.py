from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor, nn

from lightly_adv.models.pretext import PretextTask


class Places(PretextTask):
    """Several answers for each picture: one of three classes at each of two places."""

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
