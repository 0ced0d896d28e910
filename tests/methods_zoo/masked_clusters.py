"""Methods that assign masked views or patches to prototypes."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import CAPILoss, MSNLoss, PMSNLoss
from lightly.models import utils
from lightly.models.modules import (
    CAPIPredictorTIMM,
    CAPIProjectionHead,
    MaskedVisionTransformerTIMM,
)
from lightly.models.modules.heads import MSNProjectionHead
from torch import Tensor, nn

from tests.methods_zoo.method import WIDTH, Method, one_view, transformer, views


class MSN(pl.LightningModule):
    def __init__(self, criterion: nn.Module | None = None) -> None:
        super().__init__()
        vit = transformer(dynamic_img_size=True)
        self.backbone = MaskedVisionTransformerTIMM(vit=vit)
        self.projection_head = MSNProjectionHead(WIDTH, 16, 8)
        self.anchor_backbone = copy.deepcopy(self.backbone)
        self.anchor_projection_head = copy.deepcopy(self.projection_head)
        utils.deactivate_requires_grad(self.backbone)
        utils.deactivate_requires_grad(self.projection_head)
        self.prototypes = nn.Linear(8, 12, bias=False).weight
        self.criterion = criterion or MSNLoss()

    def encode_masked(self, anchors: Tensor) -> Tensor:
        size = anchors.shape[-1] // self.anchor_backbone.vit.patch_embed.patch_size[0]
        keep, _ = utils.random_token_mask(
            size=(len(anchors), size**2 + 1), mask_ratio=0.15, device=self.device
        )
        encoded = self.anchor_backbone(images=anchors, idx_keep=keep)
        z: Tensor = self.anchor_projection_head(encoded)
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        utils.update_momentum(self.anchor_backbone, self.backbone, 0.9)
        utils.update_momentum(self.anchor_projection_head, self.projection_head, 0.9)
        views = [view.to(self.device, non_blocking=True) for view in batch[0]]
        targets, anchors, focal = views[0], views[1], torch.cat(views[2:])
        targets_out = self.projection_head(self.backbone(images=targets))
        anchors_out = torch.cat(
            [self.encode_masked(anchors), self.encode_masked(focal)]
        )
        loss: Tensor = self.criterion(anchors_out, targets_out, self.prototypes.data)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [
            *self.anchor_backbone.parameters(),
            *self.anchor_projection_head.parameters(),
            self.prototypes,
        ]
        return torch.optim.AdamW(trained, lr=1.5e-4)


class CAPI(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        vit = transformer(reg_tokens=2)
        self.student_backbone = MaskedVisionTransformerTIMM(vit=vit)
        self.prefix = vit.num_prefix_tokens
        self.student_head = CAPIProjectionHead(WIDTH, 12, weight_norm=True)
        self.predictor = CAPIPredictorTIMM(
            embed_dim=WIDTH,
            grid_size=vit.patch_embed.grid_size[0],
            depth=1,
            num_heads=2,
        )
        self.teacher_backbone = copy.deepcopy(self.student_backbone)
        self.teacher_head = CAPIProjectionHead(WIDTH, 12, bias=True)
        utils.deactivate_requires_grad(self.teacher_backbone)
        self.criterion = CAPILoss()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        utils.update_momentum(self.student_backbone, self.teacher_backbone, m=0.9)
        images = batch[0][0]
        keep, mask = utils.random_inverse_block_mask(
            size=(len(images), self.student_backbone.sequence_length),
            mask_ratio=0.65,
            num_prefix_tokens=self.prefix,
        )
        visible = self.student_backbone.encode(images=images, idx_keep=keep)
        predicted = self.predictor(
            context=visible[:, self.prefix :],
            context_positions=keep[:, self.prefix :] - self.prefix,
            query_positions=mask - self.prefix,
        )
        with torch.no_grad():
            features = self.teacher_backbone.encode(images=images)
        teacher_logits = self.teacher_head(features)[:, self.prefix :]
        student_loss = self.criterion(
            teacher_logits=teacher_logits,
            student_logits=self.student_head(predicted),
            teacher_index=mask - self.prefix,
        )
        clustering_loss = self.criterion(
            teacher_logits=teacher_logits, student_logits=teacher_logits
        )
        loss: Tensor = student_loss + clustering_loss
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1.5e-4)


CROPS = views(2, local=2)
ANCHORS = ((1, 2, 3),)
METHODS = [
    Method(
        "MSN",
        MSN,
        CROPS,
        ANCHORS,
        "the anchors",
        "the target view has no gradient and stays clean",
    ),
    Method("PMSN", lambda: MSN(PMSNLoss()), CROPS, ANCHORS, "the anchors", "as MSN"),
    Method(
        "CAPI",
        CAPI,
        one_view,
        ((0,),),
        "the image",
        "through the student; the clustering loss of the teacher has no gradient",
    ),
]
