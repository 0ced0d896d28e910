"""Methods in which a student learns the distributions that a teacher assigns."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models import utils
from lightly.models.modules import (
    DINOProjectionHead,
    DINOv2ProjectionHead,
    MaskedVisionTransformerTIMM,
)
from lightly.utils.scheduler import cosine_schedule, linear_warmup_schedule
from torch import Tensor, nn

from tests.methods_zoo.method import (
    FEATURES,
    WIDTH,
    Method,
    convolutional,
    transformer,
    views,
)


class DINO(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.student_backbone = convolutional()
        self.student_head = DINOProjectionHead(FEATURES, 16, 8, 32, freeze_last_layer=1)
        self.teacher_backbone = copy.deepcopy(self.student_backbone)
        self.teacher_head = DINOProjectionHead(FEATURES, 16, 8, 32)
        utils.deactivate_requires_grad(self.teacher_backbone)
        utils.deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=32, warmup_teacher_temp_epochs=2)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.student_head(self.student_backbone(x).flatten(start_dim=1))
        return z

    def forward_teacher(self, x: Tensor) -> Tensor:
        z: Tensor = self.teacher_head(self.teacher_backbone(x).flatten(start_dim=1))
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        momentum = cosine_schedule(self.current_epoch, 10, 0.9, 1)
        utils.update_momentum(self.student_backbone, self.teacher_backbone, m=momentum)
        utils.update_momentum(self.student_head, self.teacher_head, m=momentum)
        views = [view.to(self.device) for view in batch[0]]
        teacher_out = [self.forward_teacher(view) for view in views[:2]]
        student_out = [self(view) for view in views]
        loss: Tensor = self.criterion(
            teacher_out, student_out, epoch=self.current_epoch
        )
        self.log("train_loss", loss)
        return loss

    def on_after_backward(self) -> None:
        self.student_head.cancel_last_layer_gradients(current_epoch=self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.001)


class IBOT(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.teacher_backbone = MaskedVisionTransformerTIMM(
            vit=transformer(dynamic_img_size=True, init_values=0.5),
            antialias=False,
            pos_embed_initialization="skip",
        )
        self.student_backbone = copy.deepcopy(self.teacher_backbone)
        utils.update_drop_path_rate(
            self.student_backbone.vit, drop_path_rate=0.1, mode="uniform"
        )
        self.make_heads()
        for teacher in (self.teacher_backbone, self.teacher_head):
            utils.deactivate_requires_grad(teacher)
            teacher.eval()
        self.cls_criterion = DINOLoss(output_dim=32, teacher_temp=0.07)
        self.patch_criterion = IBOTPatchLoss(output_dim=32, teacher_temp=0.07)

    def make_heads(self) -> None:
        # One head under three names, as Lightly's example has it.
        self.student_head = DINOProjectionHead(WIDTH, 16, 8, 32, norm_last_layer=False)
        self.student_cls_head = self.student_patch_head = self.student_head
        self.teacher_head = DINOProjectionHead(WIDTH, 16, 8, 32)
        self.teacher_cls_head = self.teacher_patch_head = self.teacher_head

    def block_mask(self, count: int) -> tuple[Tensor, Tensor]:
        height, width = self.teacher_backbone.vit.patch_embed.grid_size
        block_mask = utils.random_block_mask(
            size=(count, height, width), min_image_mask_ratio=0.3
        )
        mask = torch.zeros(
            (count, self.teacher_backbone.sequence_length), dtype=torch.bool
        )
        mask[:, 1:] = block_mask.flatten(start_dim=1)
        return block_mask, mask

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        views = batch[0]
        global_views, local_views = torch.cat(views[:2]), torch.cat(views[2:])
        block_mask, mask = self.block_mask(len(global_views))
        with torch.no_grad():
            teacher = self.teacher_backbone.encode(global_views)
            teacher_cls_out = self.teacher_cls_head(teacher[:, 0])
            teacher_masked_out = self.teacher_patch_head(teacher[mask])
        student = self.student_backbone.encode(global_views, mask=mask)
        local = self.student_backbone.encode(local_views)
        student_cls_out = torch.cat(
            [self.student_cls_head(each[:, 0]) for each in (student, local)]
        )
        teacher_temp = linear_warmup_schedule(
            step=self.trainer.global_step,
            warmup_steps=int(self.trainer.estimated_stepping_batches),
            start_value=0.04,
            end_value=0.07,
        )
        cls_loss = self.cls_criterion(
            teacher_out=list(teacher_cls_out.chunk(2)),
            student_out=list(student_cls_out.chunk(len(views))),
            teacher_temp=teacher_temp,
        )
        patch_loss = self.patch_criterion(
            teacher_out=teacher_masked_out,
            student_out=self.student_patch_head(student[mask]),
            mask=block_mask,
            teacher_temp=teacher_temp,
        )
        loss: Tensor = cls_loss + patch_loss + self.regularizer(student[:, 0])
        self.log("train_loss", loss)
        return loss

    def regularizer(self, cls_tokens: Tensor) -> Tensor | float:
        return 0.0

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        momentum = cosine_schedule(
            step=self.trainer.global_step,
            max_steps=int(self.trainer.estimated_stepping_batches),
            start_value=0.9,
            end_value=1.0,
        )
        utils.update_momentum(self.student_backbone, self.teacher_backbone, m=momentum)
        utils.update_momentum(self.student_head, self.teacher_head, m=momentum)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.001)


class DINOv2Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dino_head = DINOv2ProjectionHead(WIDTH, 16, 8, 32)
        self.ibot_head = DINOv2ProjectionHead(WIDTH, 16, 8, 32)


class DINOv2(IBOT):
    def make_heads(self) -> None:
        self.koleo_criterion = KoLeoLoss()
        self.student_head, self.teacher_head = DINOv2Head(), DINOv2Head()
        self.student_cls_head = self.student_head.dino_head
        self.student_patch_head = self.student_head.ibot_head
        self.teacher_cls_head = self.teacher_head.dino_head
        self.teacher_patch_head = self.teacher_head.ibot_head

    def regularizer(self, cls_tokens: Tensor) -> Tensor | float:
        losses = [self.koleo_criterion(each) for each in cls_tokens.chunk(2)]
        return 0.1 * torch.stack(losses).sum()


ALL = ((0, 1, 2, 3),)
CROPS = views(2, local=2)
METHODS = [
    Method(
        "DINO",
        DINO,
        CROPS,
        ALL,
        "all crops",
        "global crops also enter the teacher, which has its own gradient-free weights",
    ),
    Method(
        "iBOT",
        IBOT,
        CROPS,
        ALL,
        "all crops",
        "masks come from Python's random numbers and are those of the real step",
    ),
    Method("DINOv2", DINOv2, CROPS, ALL, "all crops", "as iBOT"),
]
