"""What the tests of fine-tuning share: tiny batches, networks and trainings."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

SIZE = 8


def batches(count: int = 2, classes: int = 3) -> Any:
    """A loader of batches of four images."""
    generator = torch.Generator().manual_seed(0)
    data = [
        (torch.rand(4, 3, SIZE, SIZE, generator=generator), torch.arange(4) % classes)
        for _ in range(count)
    ]
    return torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def fit(
    module: pl.LightningModule, *, epochs: int = 1, count: int = 2, **options: Any
) -> pl.Trainer:
    """Train on these batches."""
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, batches(count), batches(1))
    return trainer


def small_network() -> nn.Module:
    """A convolution and BatchNorm, whose statistics tell train from eval mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.AdaptiveAvgPool2d(2)
    )
    with torch.no_grad():
        for each in network.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.running_mean = torch.tensor([0.1, -0.1, 0.2, 0.0])
                each.running_var = torch.tensor([0.5, 0.7, 0.4, 0.6])
    return network.append(nn.Flatten())


def softmax_by_hand(logits: Tensor) -> Tensor:
    """Exponentials over their sum."""
    return logits.exp() / logits.exp().sum(dim=1, keepdim=True)
