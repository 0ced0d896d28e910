"""Methods whose batches hold grids or masks beside the images."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import DetConBLoss, DetConSLoss, VICRegLLoss
from lightly.models import utils
from lightly.models.modules import (
    BarlowTwinsProjectionHead,
    BYOLPredictionHead,
    BYOLProjectionHead,
    SimCLRProjectionHead,
)
from lightly.models.modules.heads import VicRegLLocalProjectionHead
from torch import Generator, Tensor, nn

from tests.methods_zoo.method import (
    BATCH,
    FEATURES,
    LARGE,
    SMALL,
    Batch,
    Method,
    feature_map,
    labelled,
    make_images,
)

REGIONS = 4


class VICRegL(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = feature_map()
        self.projection_head = BarlowTwinsProjectionHead(FEATURES, 16, 16)
        self.local_projection_head = VicRegLLocalProjectionHead(FEATURES, 16, 8)
        self.average_pool = nn.AdaptiveAvgPool2d(output_size=(1, 1))
        self.criterion = VICRegLLoss(num_matches=(8, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(x)
        z = self.projection_head(self.average_pool(features).flatten(start_dim=1))
        z_local = self.local_projection_head(features.permute(0, 2, 3, 1))
        return z, z_local

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        views_and_grids = batch[0]
        views = views_and_grids[: len(views_and_grids) // 2]
        grids = views_and_grids[len(views_and_grids) // 2 :]
        features = [self(view) for view in views]
        loss: Tensor = self.criterion(
            global_view_features=features[:2],
            global_view_grids=grids[:2],
            local_view_features=features[2:],
            local_view_grids=grids[2:],
        )
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class DetConS(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = feature_map()
        self.projection_head = SimCLRProjectionHead(FEATURES, 16, 8)
        self.criterion = DetConSLoss(gather_distributed=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        z: Tensor = self.projection_head(pooled(self.backbone(x), mask))
        return z.reshape(len(x), REGIONS, -1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (x0, mask0), (x1, mask1) = batch[0]
        index = torch.arange(REGIONS, device=self.device).expand(len(x0), -1)
        loss: Tensor = self.criterion(self(x0, mask0), self(x1, mask1), index, index)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class DetConB(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = feature_map()
        self.projection_head = BYOLProjectionHead(FEATURES, 16, 8)
        self.prediction_head = BYOLPredictionHead(8, 16, 8)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone_momentum)
        utils.deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = DetConBLoss(gather_distributed=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        p = self.prediction_head(self.projection_head(pooled(self.backbone(x), mask)))
        prediction: Tensor = p.reshape(len(x), REGIONS, -1)
        return prediction

    @torch.no_grad()
    def forward_momentum(self, x: Tensor, mask: Tensor) -> Tensor:
        z = self.projection_head_momentum(pooled(self.backbone_momentum(x), mask))
        target: Tensor = z.reshape(len(x), REGIONS, -1)
        return target

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        utils.update_momentum(self.backbone, self.backbone_momentum, m=0.9)
        utils.update_momentum(
            self.projection_head, self.projection_head_momentum, m=0.9
        )
        (x0, mask0), (x1, mask1) = batch[0]
        index = torch.arange(REGIONS, device=self.device).expand(len(x0), -1)
        loss: Tensor = self.criterion(
            self(x0, mask0),
            self(x1, mask1),
            self.forward_momentum(x0, mask0),
            self.forward_momentum(x1, mask1),
            index,
            index,
        )
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06)


def pooled(features: Tensor, mask: Tensor) -> Tensor:
    """Average the features of every region; (B * regions, channels)."""
    small = nn.functional.interpolate(mask.float(), size=features.shape[-2:])
    found = utils.pool_masked(features, small.long().squeeze(1), num_cls=REGIONS)
    flat: Tensor = found.permute(0, 2, 1).flatten(end_dim=1)
    return flat


def with_grids(generator: Generator) -> Batch:
    """Draw what `VICRegLTransform` gives: views, then a grid of places for each.

    Lightly's local grids are 3 x 3 x 2, which is the shape of a tiny image, too.
    """
    sizes = [LARGE, LARGE, SMALL]
    views = [make_images(generator, size) for size in sizes]
    grids = [
        32 * torch.rand(BATCH, cells, cells, 2, generator=generator)
        for cells in (4, 4, 3)
    ]
    return labelled([*views, *grids])


def with_masks(generator: Generator) -> Batch:
    """Draw what `DetConSTransform` gives: pairs of a view and a mask of regions."""
    corners = torch.arange(REGIONS).view(1, 1, 2, 2).float()
    mask = nn.functional.interpolate(corners, size=LARGE).long()
    masks = mask.repeat(BATCH, 1, 1, 1)
    return labelled([[make_images(generator), masks], [make_images(generator), masks]])


METHODS = [
    Method(
        "VICRegL",
        VICRegL,
        with_grids,
        ((0, 1, 2),),
        "all crops",
        "grids are left alone; matches of features are searched in each evaluation",
    ),
    Method("DetConS", DetConS, with_masks, ((0, 1),), "both", "masks are left alone"),
    Method(
        "DetConB",
        DetConB,
        with_masks,
        ((0, 1),),
        "both",
        "masks are left alone; targets have no gradient",
    ),
]
