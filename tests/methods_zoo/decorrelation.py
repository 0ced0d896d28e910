"""Methods that keep the features of a batch from collapsing or repeating."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import BarlowTwinsLoss, FroSSLLoss, LeJEPALoss, VICRegLoss
from lightly.models.modules import BarlowTwinsProjectionHead, LeJEPAProjectionHead
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor

from tests.methods_zoo.method import (
    FEATURES,
    WIDTH,
    Method,
    convolutional,
    transformer,
    two_views,
    views,
)


class BarlowTwins(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = BarlowTwinsProjectionHead(FEATURES, 16, 16)
        self.criterion = BarlowTwinsLoss()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x0, x1 = batch[0]
        loss: Tensor = self.criterion(self(x0), self(x1))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class VICReg(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = VICRegProjectionHead(FEATURES, 16, 16, num_layers=2)
        self.criterion = VICRegLoss()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x0, x1 = batch[0]
        loss: Tensor = self.criterion(self(x0), self(x1))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class FroSSL(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = VICRegProjectionHead(FEATURES, 16, 16, num_layers=2)
        self.criterion = FroSSLLoss()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.criterion([self(x) for x in batch[0]])
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class LeJEPA(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = transformer(dynamic_img_size=True, drop_path_rate=0.1)
        self.projection_head = LeJEPAProjectionHead(
            WIDTH, hidden_dim=16, output_dim=8, num_layers=2
        )
        self.criterion = LeJEPALoss(sigreg_num_vectors=32)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x))
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        views = batch[0]
        global_proj = torch.stack([self(view) for view in views[:2]])
        local_proj = torch.stack([self(view) for view in views[2:]])
        loss: Tensor = self.criterion(local_proj=local_proj, global_proj=global_proj)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=5e-4, weight_decay=5e-2)


BOTH = ((0, 1),)
METHODS = [
    Method("Barlow Twins", BarlowTwins, two_views, BOTH, "both"),
    Method("VICReg", VICReg, two_views, BOTH, "both"),
    Method("FroSSL", FroSSL, two_views, BOTH, "both"),
    Method(
        "LeJEPA",
        LeJEPA,
        views(2, local=2),
        ((0, 1, 2, 3),),
        "all crops",
        "the random directions of SIGReg are those of the real step",
    ),
]
