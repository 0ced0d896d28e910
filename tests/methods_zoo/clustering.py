"""Methods that assign images to prototypes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightly.loss import SwaVLoss
from lightly.loss.memory_bank import MemoryBankModule
from lightly.models import utils
from lightly.models.modules import (
    SMoGPredictionHead,
    SMoGProjectionHead,
    SMoGPrototypes,
    SwaVProjectionHead,
    SwaVPrototypes,
)
from torch import Tensor, nn

from tests.methods_zoo.method import (
    FEATURES,
    Method,
    convolutional,
    two_views,
    views,
)


class SwaV(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = SwaVProjectionHead(FEATURES, 16, 8)
        # Frozen for the first epoch.
        self.prototypes = SwaVPrototypes(8, 12, n_steps_frozen_prototypes=1)
        self.criterion = SwaVLoss()

    def forward(self, x: Tensor) -> Tensor:
        x = self.projection_head(self.backbone(x).flatten(start_dim=1))
        return nn.functional.normalize(x, dim=1, p=2)

    def assign(self, features: list[Tensor]) -> list[Tensor]:
        return [self.prototypes(each, self.current_epoch) for each in features]

    def queued(self, features: list[Tensor]) -> list[Tensor] | None:
        return None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.prototypes.normalize()
        features = [self(view.to(self.device)) for view in batch[0]]
        high, low = features[:2], features[2:]
        loss: Tensor = self.criterion(
            self.assign(high), self.assign(low), self.queued(high)
        )
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.001)


class SwaVQueue(SwaV):
    def __init__(self) -> None:
        super().__init__()
        self.start_queue_at_epoch = 1
        self.queues = nn.ModuleList([MemoryBankModule(size=(8, 8)) for _ in range(2)])

    @torch.no_grad()
    def queued(self, features: list[Tensor]) -> list[Tensor] | None:
        found = [
            queue(each, update=True)[1].permute(1, 0)
            for queue, each in zip(self.queues, features, strict=True)
        ]
        if self.current_epoch < self.start_queue_at_epoch:
            return None
        return self.assign(found)


class SMoG(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.projection_head = SMoGProjectionHead(FEATURES, 16, 8)
        self.prediction_head = SMoGPredictionHead(8, 16, 8)
        self._reset_momentum_weights()
        self.memory_bank = MemoryBankModule(size=(16, 8))
        groups = nn.functional.normalize(torch.rand(6, 8), dim=1)
        self.smog = SMoGPrototypes(group_features=groups, beta=0.9)
        self.criterion = nn.CrossEntropyLoss()

    def _reset_momentum_weights(self) -> None:
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)

    def _reset_group_features(self) -> None:
        # In place of scikit-learn's k-means, which draws from NumPy as well.
        features = self.memory_bank.bank.cpu().numpy()
        chosen = np.random.permutation(len(features))[:6]
        clustered = torch.from_numpy(features[chosen])
        self.smog.set_group_features(nn.functional.normalize(clustered, dim=1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step > 0 and self.global_step % 2 == 0:
            self._reset_group_features()
            self._reset_momentum_weights()
        else:
            utils.update_momentum(self.backbone, self.backbone_momentum, 0.9)
            utils.update_momentum(
                self.projection_head, self.projection_head_momentum, 0.9
            )
        x0, x1 = batch[0]
        if batch_idx % 2:
            x0, x1 = x1, x0
        encoded = self.projection_head(self.backbone(x0).flatten(start_dim=1))
        predicted = self.prediction_head(encoded)
        target = self.backbone_momentum(x1).flatten(start_dim=1)
        assignments = self.smog.assign_groups(self.projection_head_momentum(target))
        groups = self.smog.get_updated_group_features(encoded)
        logits = self.smog(predicted, groups, temperature=0.1)
        self.smog.set_group_features(groups)
        loss: Tensor = self.criterion(logits, assignments)
        self.memory_bank(encoded, update=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = (self.backbone, self.projection_head, self.prediction_head)
        parameters = [each for part in trained for each in part.parameters()]
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


CROPS = views(2, local=2)
ALL = ((0, 1, 2, 3),)
METHODS = [
    Method(
        "SwAV",
        SwaV,
        CROPS,
        ALL,
        "all crops",
        "frozen prototypes and their normalisation in place are set aside as well",
    ),
    Method("SwAV with queue", SwaVQueue, CROPS, ALL, "all crops", "as SwAV"),
    Method(
        "SMoG",
        SMoG,
        two_views,
        ((0,), (1,)),
        "one, in turns",
        "copies of whole modules, made inside of the step, are set aside as well",
    ),
]
