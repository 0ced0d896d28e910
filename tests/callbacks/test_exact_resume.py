"""A training of one's own, resumed from any step, ends as if it had not stopped."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.attacks import Attack
from lightly_adv.callbacks.exact_resume import ExactResume
from lightly_adv.data.training_loader import Draw, TrainingLoader, TrainingSampler

pytestmark = pytest.mark.filterwarnings("ignore")

EPOCHS, BATCHES = 3, 4


class Noisy(Dataset[Tensor]):
    """Images whose augmentation is drawn in three ways."""

    def __len__(self) -> int:
        return 2 * BATCHES

    def __getitem__(self, index: int | Draw) -> Tensor:
        if isinstance(index, Draw):
            return index.image + torch.rand(5, generator=index.generator())
        return index + torch.rand(5) + random.random() + np.random.rand()


class Zeros(Dataset[Tensor]):
    """What is validated on."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(5)


class Net(pl.LightningModule):
    """Draws numbers in the step, and has a schedule of each kind."""

    def __init__(self, *, asks_for_steps: bool = False) -> None:
        super().__init__()
        self.asks_for_steps = asks_for_steps
        self.first = nn.Linear(5, 4)
        self.net = nn.Sequential(self.first, nn.Dropout(0.5), nn.Linear(4, 1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.net(batch).square().mean() * (1 + random.random())
        return loss + float(np.random.rand()) * self.first.weight.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val", self.net(batch).mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        if self.asks_for_steps:
            steps = self.trainer.estimated_stepping_batches
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 0.1, total_steps=int(steps)
            )
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "val"},
        }


def plain(**options: Any) -> DataLoader[Tensor]:
    return DataLoader(Noisy(), batch_size=2, shuffle=True, **options)


def by_epoch() -> DataLoader[Tensor]:
    sampler: Any = DistributedSampler(Noisy(), num_replicas=1, rank=0, seed=3)
    return DataLoader(Noisy(), batch_size=2, sampler=sampler)


def ours() -> DataLoader[Tensor]:
    return TrainingLoader(
        Noisy(),
        sampler=TrainingSampler(len(Noisy())),
        batch_size=2,
        generator=torch.Generator(),
    )


def fit(
    folder: Path,
    net: Net,
    loader: Any,
    *,
    resumed: Path | None = None,
    save: bool = False,
    attack: Attack | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """Train, with a checkpoint after every step; return the weights."""
    callbacks: list[pl.Callback] = [ExactResume()]
    if attack is not None:
        callbacks.insert(0, AdversarialTraining(attack, verify="off"))
    if save:
        callbacks.append(
            pl.callbacks.ModelCheckpoint(
                folder, filename="{step}", every_n_train_steps=1, save_top_k=-1
            )
        )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=save,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(net, loader, DataLoader(Zeros()), ckpt_path=resumed)
    assert trainer.global_step == EPOCHS * BATCHES
    return net.state_dict()


def compare(
    folder: Path,
    make: Any,
    steps: list[int],
    *,
    attack: Attack | None = None,
    **options: Any,
) -> None:
    pl.seed_everything(5)
    want = fit(folder, Net(**options), make(), save=True, attack=attack)
    for step in steps:
        pl.seed_everything(5)
        torch.rand(step), np.random.rand(step), random.random()  # somewhere else
        resumed = folder / f"step={step}.ckpt"
        found = fit(folder, Net(**options), make(), resumed=resumed, attack=attack)
        assert all(torch.equal(found[key], want[key]) for key in want), step


MIDDLE = [n for n in range(1, EPOCHS * BATCHES) if n % BATCHES]


@pytest.mark.parametrize("make", [plain, by_epoch, ours])
@pytest.mark.parametrize("asks_for_steps", [False, True])
def test_from_the_middle_of_an_epoch(
    tmp_path: Path, make: Any, asks_for_steps: bool
) -> None:
    steps = random.Random(make.__name__).sample(MIDDLE, 4)
    compare(tmp_path, make, steps, asks_for_steps=asks_for_steps)


def test_without_the_callback_it_would_be_another_training(tmp_path: Path) -> None:
    pl.seed_everything(5)
    want = fit(tmp_path, Net(), plain(), save=True)
    path = tmp_path / "step=6.ckpt"
    content = torch.load(path, weights_only=True)
    del content["exact_resume"]
    torch.save(content, path)
    found = fit(tmp_path, Net(), plain(), resumed=path)
    assert not all(torch.equal(found[key], want[key]) for key in want)


class Small(Dataset[Tensor]):
    """Images in [0, 1], with augmentation or without."""

    def __init__(self, *, augment: bool) -> None:
        self.augment = augment

    def __len__(self) -> int:
        return 2 * BATCHES

    def __getitem__(self, index: int) -> Tensor:
        noise = torch.rand(1, 5, 5) if self.augment else torch.zeros(1, 5, 5)
        return index / 10 + 0.1 * noise


@pytest.mark.parametrize("asks_for_steps", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stateful_loader_under_attack(
    tmp_path: Path, workers: int, asks_for_steps: bool
) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def make() -> Any:
        # It saves its position, but not the random states of workers.
        images = Small(augment=workers == 0)
        return loaders.StatefulDataLoader(
            images, batch_size=2, shuffle=True, num_workers=workers
        )

    attack = PGD(ThreatModel(eps=0.05), steps=2)
    steps = [2, 7] if workers == 0 else [6]
    compare(tmp_path, make, steps, attack=attack, asks_for_steps=asks_for_steps)


def test_workers_that_end_with_the_epoch(tmp_path: Path) -> None:
    compare(tmp_path, lambda: plain(num_workers=1), [6])
