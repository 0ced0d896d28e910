"""A LightningModule as a user might write it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from tests.cli.tiny import TinyDataModule


class OwnModule(pl.LightningModule):
    """Reports whether a training image is none of those in the data."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch[0], batch[1]
        known = {
            float(v)
            for v in TinyDataModule().load_train().source(torch.arange(32)).flatten()
        }
        perturbed = any(float(v) not in known | {0.0} for v in images.flatten())
        self.log("seen_perturbed", float(perturbed))
        loss: Tensor = nn.functional.cross_entropy(self.backbone(images), labels)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)
