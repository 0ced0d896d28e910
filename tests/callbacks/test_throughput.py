from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightly_adv.callbacks import Throughput, throughput

BATCH = ([torch.rand(8, 3, 4, 4)] * 2, torch.zeros(8), ["a.png"] * 8)


class Clock:
    """Tells the times that it is given, one after the other."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0)


def logged(
    monkeypatch: pytest.MonkeyPatch, *times: float, **trainer: Any
) -> list[float]:
    """Values logged by batches that end at the given times; inf is a validation."""
    options = {"is_global_zero": True, "world_size": 1, **trainer}
    module, run = MagicMock(), SimpleNamespace(**options)
    callback: Any = Throughput()
    clock = Clock(*(time for time in times if time != float("inf")))
    monkeypatch.setattr("time.perf_counter", clock)
    callback.on_train_epoch_start(run, module)
    for index, time in enumerate(times):
        if time == float("inf"):
            callback.on_validation_start(run, module)
        else:
            callback.on_train_batch_end(run, module, None, BATCH, index)
    return [call.args[1] for call in module.log.call_args_list]


def test_the_first_batch_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logged(monkeypatch, 100.0, 102.0, 103.0) == [8 / 2, 16 / 3]


def test_validation_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    times = (1.0, 3.0, float("inf"), 500.0, 502.0)
    assert logged(monkeypatch, *times) == [8 / 2, 16 / 4]


def test_all_processes_count_and_one_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logged(monkeypatch, 0.0, 2.0, world_size=4) == [16.0]
    assert not logged(monkeypatch, 0.0, 2.0, is_global_zero=False)


def test_every_epoch_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    callback: Any = Throughput()
    module, run = MagicMock(), SimpleNamespace(is_global_zero=True, world_size=1)
    monkeypatch.setattr("time.perf_counter", Clock(0.0, 1.0, 50.0, 54.0))
    for _ in range(2):
        callback.on_train_epoch_start(run, module)
        for index in range(2):
            callback.on_train_batch_end(run, module, None, BATCH, index)
    assert [call.args[1] for call in module.log.call_args_list] == [8.0, 2.0]


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.rand(3, 2), 3),
        (BATCH, 8),
        ({"name": "x", "image": torch.rand(5, 2)}, 5),
        ([torch.tensor(1.0), torch.rand(4)], 4),
        (["a.png"], None),
        (7, None),
    ],
)
def test_the_size_of_a_batch_is_that_of_its_first_tensor(
    batch: Any, size: int | None
) -> None:
    assert throughput.batch_size(batch) == size


def test_it_logs_in_a_trainer() -> None:
    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss: Tensor = self.linear(batch[0]).mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[Throughput()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        max_epochs=1,
    )
    trainer.fit(Module(), DataLoader(TensorDataset(torch.rand(12, 2)), batch_size=4))
    assert float(trainer.callback_metrics["images_per_second"]) > 0
