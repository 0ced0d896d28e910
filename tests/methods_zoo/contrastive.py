"""Methods that tell views of one image from views of others."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import DCLLoss, DCLWLoss, NTXentLoss
from lightly.models import utils
from lightly.models.modules import (
    DenseCLProjectionHead,
    MoCoProjectionHead,
    NNCLRPredictionHead,
    NNCLRProjectionHead,
    NNMemoryBankModule,
    SimCLRProjectionHead,
)
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from tests.methods_zoo.method import (
    FEATURES,
    Method,
    convolutional,
    feature_map,
    two_views,
)


class SimCLR(pl.LightningModule):
    def __init__(self, criterion: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = SimCLRProjectionHead(FEATURES, 16, 8)
        self.criterion = criterion or NTXentLoss()

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x).flatten(start_dim=1)
        z: Tensor = self.projection_head(x)
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x0, x1 = batch[0]
        loss: Tensor = self.criterion(self(x0), self(x1))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06, momentum=0.9)


class MoCo(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = MoCoProjectionHead(FEATURES, 16, 8)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NTXentLoss(memory_bank_size=(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        query: Tensor = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return query

    def forward_momentum(self, x: Tensor) -> Tensor:
        y = self.backbone_momentum(x).flatten(start_dim=1)
        key: Tensor = self.projection_head_momentum(y)
        return key.detach()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.9, 1)
        utils.update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        utils.update_momentum(
            self.projection_head, self.projection_head_momentum, m=momentum
        )
        x_query, x_key = batch[0]
        # MoCo shuffles the keys so that BatchNorm does not tell them apart.
        x_key, shuffle = utils.batch_shuffle(x_key)
        key = utils.batch_unshuffle(self.forward_momentum(x_key), shuffle)
        loss: Tensor = self.criterion(self(x_query), key)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class DenseCL(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = feature_map()
        self.projection_head_global = DenseCLProjectionHead(FEATURES, 16, 8)
        self.projection_head_local = DenseCLProjectionHead(FEATURES, 16, 8)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_global_momentum = copy.deepcopy(
            self.projection_head_global
        )
        self.projection_head_local_momentum = copy.deepcopy(self.projection_head_local)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_global_momentum)
        utils.deactivate_requires_grad(self.projection_head_local_momentum)
        self.criterion_global = NTXentLoss(memory_bank_size=(16, 8))
        self.criterion_local = NTXentLoss(memory_bank_size=(64, 8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.backbone(x)
        pooled = self.pool(features).flatten(start_dim=1)
        dense = features.flatten(start_dim=2).permute(0, 2, 1)
        return (
            dense,
            self.projection_head_global(pooled),
            self.projection_head_local(dense),
        )

    @torch.no_grad()
    def forward_momentum(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.backbone_momentum(x)
        pooled = self.pool(features).flatten(start_dim=1)
        dense = features.flatten(start_dim=2).permute(0, 2, 1)
        return (
            dense,
            self.projection_head_global_momentum(pooled),
            self.projection_head_local_momentum(dense),
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        utils.update_momentum(self.backbone, self.backbone_momentum, m=0.9)
        utils.update_momentum(
            self.projection_head_global, self.projection_head_global_momentum, m=0.9
        )
        utils.update_momentum(
            self.projection_head_local, self.projection_head_local_momentum, m=0.9
        )
        x_query, x_key = batch[0]
        query_dense, query_global, query_local = self(x_query)
        key_dense, key_global, key_local = self.forward_momentum(x_key)
        key_local = utils.select_most_similar(query_dense, key_dense, key_local)
        loss_global = self.criterion_global(query_global, key_global)
        loss_local = self.criterion_local(
            query_local.flatten(end_dim=1), key_local.flatten(end_dim=1)
        )
        loss: Tensor = 0.5 * loss_global + 0.5 * loss_local
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class NNCLR(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = NNCLRProjectionHead(FEATURES, 16, 3)
        self.prediction_head = NNCLRPredictionHead(3, 16, 3)
        # Many neighbours in few dimensions, so that the nearest one hardly jumps.
        self.memory_bank = NNMemoryBankModule(size=(1024, 3))
        self.criterion = NTXentLoss()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.projection_head(self.backbone(x).flatten(start_dim=1))
        p = self.prediction_head(z)
        return z.detach(), p

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x0, x1 = batch[0]
        z0, p0 = self(x0)
        z1, p1 = self(x1)
        z0 = self.memory_bank(z0, update=False)
        z1 = self.memory_bank(z1, update=True)
        loss: Tensor = 0.5 * (self.criterion(z0, p1) + self.criterion(z1, p0))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


BOTH = ((0, 1),)
QUERY = ((0,),)
METHODS = [
    Method("SimCLR", SimCLR, two_views, BOTH, "both"),
    Method("DCL", lambda: SimCLR(DCLLoss()), two_views, BOTH, "both"),
    Method("DCLW", lambda: SimCLR(DCLWLoss()), two_views, BOTH, "both"),
    Method(
        "FDA",
        SimCLR,
        two_views,
        BOTH,
        "both",
        "SimCLR on views from `FDATransform`, whose output is again images",
    ),
    Method(
        "MoCo",
        MoCo,
        two_views,
        QUERY,
        "the query",
        "keys come from the momentum encoder and stay clean; the bank holds clean keys",
    ),
    Method(
        "DenseCL",
        DenseCL,
        two_views,
        QUERY,
        "the query",
        "as MoCo, with two banks that no `state_dict` shows",
    ),
    Method(
        "NNCLR",
        NNCLR,
        two_views,
        BOTH,
        "both",
        "`replace` enqueues embeddings of perturbed views, `dual` clean ones",
    ),
]
