from __future__ import annotations

import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringModel

from lightly_adv.callbacks.epoch_lines import EpochLines

pytestmark = pytest.mark.filterwarnings("ignore")


class Logs(BoringModel):
    def training_step(self, *args: Any) -> Any:
        self.log("train_loss", torch.tensor(1.25))
        return super().training_step(*args)


def fit(callback: EpochLines) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=1,
        limit_val_batches=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Logs())


def test_one_line_per_epoch() -> None:
    lines: list[str] = []
    fit(EpochLines("mine", write=lines.append))
    assert len(lines) == 2
    assert re.fullmatch(r"mine: epoch 1/2  .*train_loss 1\.25  .*\d s\n", lines[0])
    assert lines[1].startswith("mine: epoch 2/2")


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    fit(EpochLines("mine"))
    assert capsys.readouterr().out.count("mine: epoch") == 2
