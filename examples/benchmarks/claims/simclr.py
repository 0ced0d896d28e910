"""SimCLR as a plain LightningModule: adversarial only through the callback."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from lightly_adv.models import IMAGENET_NORMALIZE, Normalize, feature_dim
from lightly_adv.training.optimizers import OneCycleSGD

GREY = (0.299, 0.587, 0.114)


class SimCLR(pl.LightningModule):
    """Contrast two random views of each image."""

    def __init__(
        self,
        backbone: nn.Module,
        *,
        temperature: float,
        optimizer: OneCycleSGD,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone = backbone
        self.normalize = Normalize(IMAGENET_NORMALIZE)
        dim = feature_dim(backbone)
        self.projection_head = SimCLRProjectionHead(dim, 2 * dim, 64)
        self.criterion = NTXentLoss(temperature=temperature)
        self.optimizer = optimizer
        self.to(memory_format=self.format)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make the views of a whole batch at once."""
        images, labels = batch
        views = [random_view(images), random_view(images)]
        return [view.contiguous(memory_format=self.format) for view in views], labels

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.projection_head(self.backbone(self.normalize(x)))
        return z

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (x0, x1), _ = batch
        loss: Tensor = self.criterion(self.forward(x0), self.forward(x1))
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return self.optimizer.configure(
            self, total_steps=self.trainer.estimated_stepping_batches
        )


def random_view(images: Tensor) -> Tensor:
    """Crop and resize, flip, jitter colours and drop them, for each image separately.

    Areas of 0.35 to 1, brightness, contrast and saturation by 0.4, grey with 0.2.
    """
    count = len(images)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        noise = torch.rand(count, *shape, device=images.device)
        return low + (high - low) * noise

    scale = draw(0.35, 1).sqrt()
    flip = draw(-1, 1).sign()
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = draw(-1, 1, 2) * (1 - scale[:, None])
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    brightness, contrast, saturation = (draw(0.6, 1.4, 1, 1, 1) for _ in range(3))
    views = (views * brightness).clamp(0, 1)
    mean = _grey(views).mean(dim=(1, 2, 3), keepdim=True)
    views = (mean + (views - mean) * contrast).clamp(0, 1)
    grey = _grey(views)
    saturation = torch.where(draw(0, 1, 1, 1, 1) < 0.2, 0, saturation)
    return (grey + (views - grey) * saturation).clamp(0, 1)


def _grey(views: Tensor) -> Tensor:
    weights = torch.tensor(GREY, device=views.device)[:, None, None]
    return (views * weights).sum(dim=1, keepdim=True)
