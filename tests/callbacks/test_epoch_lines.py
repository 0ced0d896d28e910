from __future__ import annotations

import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv import ThreatModel
from lightly_adv.callbacks import RobustValidation
from lightly_adv.callbacks.epoch_lines import EpochLines

pytestmark = pytest.mark.filterwarnings("ignore")


class Logs(BoringModel):
    def training_step(self, *args: Any) -> Any:
        self.log("train_loss", torch.tensor(1.25))
        self.log("images_per_second", torch.tensor(1012.3))
        return super().training_step(*args)

    def validation_step(self, *args: Any) -> Any:
        self.log("val_top1", torch.tensor(50.0))
        return super().validation_step(*args)


class Validated(Logs):
    """Meets the same images in validation as an attack does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x.flatten(1))

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.rand(4, 3, 2, 2)), batch_size=4)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0]).sum()

    def val_dataloader(self) -> Any:
        images = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])
        return DataLoader(TensorDataset(*images), batch_size=4)

    def validation_step(self, *args: Any) -> None:
        self.log("val_top1", torch.tensor(50.0))


def fit(
    *callbacks: pl.Callback, module: pl.LightningModule | None = None, **options: Any
) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        limit_train_batches=1,
        limit_val_batches=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, **options},
    )
    trainer.fit(module or Logs())


def test_one_line_per_epoch() -> None:
    lines: list[str] = []
    fit(EpochLines("mine", write=lines.append))
    assert len(lines) == 2
    assert re.fullmatch(r"mine: epoch 1/2  .*train_loss 1\.25  .*\d s\n", lines[0])
    assert lines[1].startswith("mine: epoch 2/2")


def test_large_numbers_have_no_exponent() -> None:
    lines: list[str] = []
    fit(EpochLines("mine", write=lines.append))
    assert all("  images_per_second 1012  " in line for line in lines)


def test_validation_is_shown_where_it_ran() -> None:
    lines: list[str] = []
    mine = EpochLines("mine", write=lines.append)
    fit(mine, check_val_every_n_epoch=3, max_epochs=6)
    assert [i for i, line in enumerate(lines, 1) if "val_top1 50 " in line] == [3, 6]
    assert all("train_loss 1.25 " in line for line in lines)


def test_robust_accuracy_is_shown_where_it_was_measured() -> None:
    lines: list[str] = []
    attack = RobustValidation(ThreatModel(eps=8 / 255), suite="smoke", every_n_epochs=3)
    mine = EpochLines("mine", write=lines.append)
    fit(mine, attack, module=Validated(), max_epochs=5)
    robust = [i for i, line in enumerate(lines, 1) if "val_robust_top1" in line]
    assert robust == [1, 4]
    assert all("val_top1 50 " in line for line in lines)


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    fit(EpochLines("mine"))
    assert capsys.readouterr().out.count("mine: epoch") == 2
