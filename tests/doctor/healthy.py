"""A module, a batch and an attack with which nothing is wrong, to break one by one."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightly_adv import PGD, ThreatModel
from lightly_adv.doctor import Diagnosis, diagnose
from lightly_adv.functional import pixels
from lightly_adv.types import NormalizeStats

IMAGENET: NormalizeStats = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CIFAR10: NormalizeStats = {
    "mean": [0.4914, 0.4822, 0.4465],
    "std": [0.2470, 0.2435, 0.2616],
}

ATTACK = PGD(ThreatModel(eps=8 / 255), steps=3)


class Healthy(pl.LightningModule):
    """A classifier without BatchNorm."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.fc = nn.Linear(8, classes)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.backbone(images))
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def images(count: int = 8, size: int = 16) -> Tensor:
    """Draw pixels as they come out of 8 bits."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, size, size), generator=generator) / 255


def batch(normalize: NormalizeStats | None = None, *, count: int = 8) -> list[Tensor]:
    """Return images and labels."""
    given = pixels.to_normalized(images(count), normalize)
    return [given, torch.arange(count) % 4]


def attack(normalize: NormalizeStats | None, **options: Any) -> PGD:
    """Return the attack for normalised images."""
    return PGD(ThreatModel(normalize=normalize, **options), steps=3)


def examine(
    module: Any, data: Any = None, given: Any = ATTACK, **options: Any
) -> Diagnosis:
    """Examine on the CPU, with a seed set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "0")
        data = batch() if data is None else data
        return diagnose(module, data, given, accelerator="cpu", **options)


def blamed(diagnosis: Diagnosis) -> dict[str, str]:
    """Return the checks that warn or fail."""
    statuses = diagnosis.statuses.items()
    return {name: status for name, status in statuses if status in ("WARN", "FAIL")}


def told(diagnosis: Diagnosis, name: str) -> str:
    """Return all that a check has to say."""
    checks = [each for each in diagnosis.checks if each.name == name]
    return " ".join(f"{each.message} -> {each.remedy}" for each in checks)
