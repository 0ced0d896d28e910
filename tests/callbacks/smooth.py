"""A module whose gradients are all well above rounding, to compare runs that round.

In the small networks of the zoo many gradients are zero up to rounding, and an attack
makes steps of full length from them.
"""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from tests import zoo

ATTACK = PGD(ThreatModel(norm="L2", eps=0.5), steps=2)
"""Its steps are continuous in the gradient, unlike those in the L-inf norm."""


class Smooth(zoo.Base):
    """Two convolutions with BatchNorm, wide, without kinks and without dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.Tanh(),
            nn.Flatten(),
        )
        self.head: nn.Module = nn.Linear(256, 8)
        self.criterion = NTXentLoss()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.02)


def train(
    create: type[Smooth], **arguments: Any
) -> tuple[dict[str, Tensor], list[float]]:
    """Train under the attack; return the weights and the losses trained on."""
    losses: list[float] = []

    class Recording(create):  # type: ignore[misc, valid-type]
        def on_before_backward(self, loss: Tensor) -> None:
            losses.append(float(loss))

    callback = AdversarialTraining(ATTACK, **arguments)
    module, _ = zoo.fit(Recording, [callback])
    weights = {
        name.replace("_orig_mod.", ""): value
        for name, value in module.state_dict().items()
    }
    return weights, losses


def assert_close(first: Any, second: Any, *, tolerance: float = 1e-4) -> None:
    """Compare what two runs of `train` returned."""
    assert first[0].keys() == second[0].keys()
    for name, value in first[0].items():
        difference = float((value - second[0][name]).abs().max())
        assert difference <= tolerance, (name, difference)
    torch.testing.assert_close(first[1], second[1], rtol=tolerance, atol=tolerance)
