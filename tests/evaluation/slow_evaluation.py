"""Evaluate a small model slowly: `python -m tests.evaluation.slow_evaluation STATE`.

Also the images and the model of the tests that resume it.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.evaluation import RobustnessReport, Suite, evaluate_robustness
from lightly_adv.evaluation.suites import apgd
from lightly_adv.threat_model import ThreatModel
from tests.evaluation.counting import Counting

BATCHES = 6


class Wavering(Counting):
    """Draws noise in every evaluation, and counts how many images it has seen."""

    def __init__(self, *, pause: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
        self.pause = pause

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(self.pause)
        self.sizes.append(len(images))
        logits: Tensor = self.layers(images + 0.01 * torch.randn_like(images))
        return logits


def suite() -> Suite:
    return apgd(steps=3)


def loader(
    *, count: int = 8 * BATCHES, **options: object
) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 4, 4, generator=generator)
    labels = torch.randint(4, (count,), generator=generator)
    settings: dict[str, object] = {"batch_size": 8, **options}
    return DataLoader(TensorDataset(images, labels), **settings)  # type: ignore[arg-type]


def evaluate(model: nn.Module, **options: object) -> RobustnessReport:
    """Evaluate the model, without the checks if they are not asked for."""
    settings: dict[str, object] = {"suite": suite(), "checks": (), **options}
    threat_model = ThreatModel(eps=0.03)
    return evaluate_robustness(model, loader(), threat_model, **settings)  # type: ignore[arg-type]


if __name__ == "__main__":
    evaluate(Wavering(pause=0.05), state=sys.argv[1])
