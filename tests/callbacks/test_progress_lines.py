"""Lines in growing intervals."""

from __future__ import annotations

import itertools
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightly_adv.callbacks.progress_lines import ProgressLines


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("number", float(batch_idx))
        loss: Tensor = self.layer(batch).mean()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lines() -> None:
    lines: list[str] = []
    seconds = itertools.count()
    callback = ProgressLines(
        "mine",
        {"number": "shown", "other": "not logged"},
        write=lines.append,
        clock=lambda: float(next(seconds)),
    )
    trainer = pl.Trainer(
        max_steps=20,
        accelerator="cpu",
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data: Any = torch.rand(80, 2)
    trainer.fit(Module(), torch.utils.data.DataLoader(data, 4))
    # One second per step: after 5, 7.5 and the rest, with means since the line before.
    assert lines == [
        "mine: step 5/20  shown 2  4 images/s  15 s left\n",
        "mine: step 13/20  shown 8.5  4 images/s  7 s left\n",
        "mine: step 20/20  shown 16  4 images/s  0 s left\n",
    ]
