"""Two processes on the CPU, as they would run on two accelerators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightly.loss import NTXentLoss
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from tests import zoo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="needs the gloo backend"
    ),
]

ATTACK = PGD(ThreatModel(eps=0.05), steps=2)


class Gathering(zoo.Momentum):
    """The loss of one process depends on the embeddings of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = NTXentLoss(gather_distributed=True)
        self.register_buffer("seen", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert isinstance(self.seen, Tensor)
        self.seen += batch[0][0].mean()
        return super().training_step(batch, batch_idx)


class Keep(pl.Callback):
    """Writes what each process ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Buffers are each process's own until the next forward pass shares them.
        content = {**dict(pl_module.named_parameters()), "seen": pl_module.seen}
        torch.save(content, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.parametrize(("mode", "bn_mode"), [("replace", "batch"), ("dual", "eval")])
def test_processes_end_with_the_same_weights(
    mode: Any, bn_mode: Any, tmp_path: Path
) -> None:
    callback = AdversarialTraining(ATTACK, mode=mode, bn_mode=bn_mode)
    strategy = DDPStrategy(
        start_method="spawn",
        process_group_backend="gloo",
        find_unused_parameters=True,
    )
    zoo.fit(
        Gathering,
        [callback, Keep(tmp_path)],
        devices=2,
        strategy=strategy,
        max_epochs=1,
    )
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    # Otherwise equal weights would show nothing.
    assert not torch.equal(first["seen"], second["seen"])
    for name in first:
        if name != "seen":
            assert torch.equal(first[name], second[name]), name
