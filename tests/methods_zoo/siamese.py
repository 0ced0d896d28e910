"""Methods without negatives: a target that lags behind, or one that is detached."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import MMCRLoss, NegativeCosineSimilarity, TiCoLoss
from lightly.models import utils
from lightly.models.modules import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    MMCRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
)
from lightly.models.modules.heads import TiCoProjectionHead
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor

from tests.methods_zoo.method import FEATURES, Method, convolutional, two_views, views


class BYOL(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = BYOLProjectionHead(FEATURES, 16, 8)
        self.prediction_head = BYOLPredictionHead(8, 16, 8)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.backbone(x).flatten(start_dim=1)
        p: Tensor = self.prediction_head(self.projection_head(y))
        return p

    def forward_momentum(self, x: Tensor) -> Tensor:
        y = self.backbone_momentum(x).flatten(start_dim=1)
        z: Tensor = self.projection_head_momentum(y)
        return z.detach()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.9, 1)
        utils.update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        utils.update_momentum(
            self.projection_head, self.projection_head_momentum, m=momentum
        )
        x0, x1 = batch[0]
        p0, z0 = self(x0), self.forward_momentum(x0)
        p1, z1 = self(x1), self.forward_momentum(x1)
        loss: Tensor = 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class SimSiam(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = SimSiamProjectionHead(FEATURES, 16, 8)
        self.prediction_head = SimSiamPredictionHead(8, 4, 8)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.projection_head(self.backbone(x).flatten(start_dim=1))
        p = self.prediction_head(z)
        return z.detach(), p

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x0, x1 = batch[0]
        z0, p0 = self(x0)
        z1, p1 = self(x1)
        loss: Tensor = 0.5 * (self.criterion(z0, p1) + self.criterion(z1, p0))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class FastSiam(SimSiam):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        zs, ps = zip(*[self(view) for view in batch[0]], strict=True)
        targets = torch.stack(zs)
        loss = targets.new_zeros(())
        for at, p in enumerate(ps):
            others = torch.arange(len(ps), device=self.device) != at
            loss += self.criterion(p, targets[others].mean(dim=0)) / len(ps)
        self.log("train_loss", loss)
        return loss


class TiCo(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = TiCoProjectionHead(FEATURES, 16, 8)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = TiCoLoss()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z

    def forward_momentum(self, x: Tensor) -> Tensor:
        y = self.backbone_momentum(x).flatten(start_dim=1)
        z: Tensor = self.projection_head_momentum(y)
        return z.detach()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        utils.update_momentum(self.backbone, self.backbone_momentum, m=0.9)
        utils.update_momentum(
            self.projection_head, self.projection_head_momentum, m=0.9
        )
        x0, x1 = batch[0]
        loss: Tensor = self.criterion(self(x0), self.forward_momentum(x1))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class MMCR(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = MMCRProjectionHead(FEATURES, 16, 8)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = MMCRLoss()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return z

    def forward_momentum(self, x: Tensor) -> Tensor:
        y = self.backbone_momentum(x).flatten(start_dim=1)
        z: Tensor = self.projection_head_momentum(y)
        return z.detach()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.9, 1)
        utils.update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        utils.update_momentum(
            self.projection_head, self.projection_head_momentum, m=momentum
        )
        # (batch_size, k, embedding_size)
        online = torch.stack([self(x) for x in batch[0]], dim=1)
        target = torch.stack([self.forward_momentum(x) for x in batch[0]], dim=1)
        loss: Tensor = self.criterion(online, target)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


BOTH = ((0, 1),)
METHODS = [
    Method(
        "BYOL",
        BYOL,
        two_views,
        BOTH,
        "both",
        "through the predictor; both also enter the targets, without gradient",
    ),
    Method("SimSiam", SimSiam, two_views, BOTH, "both", "through the predictor"),
    Method(
        "FastSiam", FastSiam, views(4), ((0, 1, 2, 3),), "all", "four views, as SimSiam"
    ),
    Method(
        "TiCo",
        TiCo,
        two_views,
        ((0,),),
        "the first",
        "the covariance is a plain tensor attribute of the loss",
    ),
    Method("MMCR", MMCR, views(3), ((0, 1, 2),), "all"),
]
