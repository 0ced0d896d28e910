"""Make an encoder robust in one way, and count what it takes."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import IterableDataset

from lightly_adv import PGD, ThreatModel
from lightly_adv.methods import RobustDistillation
from lightly_adv.models import create_backbone, load_backbone
from lightly_adv.training.optimizers import WarmupCosineAdamW
from robustified.data import Sets
from robustified.settings import EPS, Arm, Settings

warnings.filterwarnings("ignore", module="pytorch_lightning")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Start:
    """What all arms begin with.

    Args:
        name: A name that timm knows.
        weights: The file of its weights.
    """

    name: str
    weights: Path

    def backbone(self) -> nn.Module:
        """Return the encoder as it was before."""
        options = {"dynamic_img_size": True} if self.name.startswith("vit") else {}
        backbone = create_backbone(self.name, **options)
        load_backbone(backbone, self.weights)
        return backbone.eval()

    def module(
        self, arm: Arm, settings: Settings, *, rate: float, seed: int
    ) -> RobustDistillation:
        """Return a module that trains it in one way."""
        torch.manual_seed(seed)  # of low-rank updates
        return RobustDistillation(
            self.backbone(),
            PGD(ThreatModel(eps=EPS), steps=settings.steps, step_size=EPS / 2),
            channels_last=True,
            optimizer=WarmupCosineAdamW(rate, 1e-4, warmup=0.07),
            **arm.arguments(),
        )


@dataclass(frozen=True)
class Cost:
    """What training took.

    Args:
        updates: Weight updates.
        seconds: Wall-clock seconds, on a machine that did other things, too.
        passes: Forward and backward passes of images, in millions.
    """

    updates: int
    seconds: float
    passes: float


class _Stream(IterableDataset[torch.Tensor]):
    def __init__(self, sets: Sets, size: int, seed: int) -> None:
        self.sets, self.size, self.seed = sets, size, seed

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self.sets.batches(self.size, self.seed)


def train(
    start: Start,
    arm: Arm,
    sets: Sets,
    settings: Settings,
    *,
    rate: float,
    seed: int,
    updates: int,
) -> tuple[nn.Module, Cost]:
    """Return the robust encoder, and what it took."""
    pl.seed_everything(seed, verbose=False)
    module = start.module(arm, settings, rate=rate, seed=seed)
    stream = _Stream(sets, settings.batch_size, seed)
    trainer = pl.Trainer(
        max_steps=updates,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    began = time.perf_counter()
    trainer.fit(module, torch.utils.data.DataLoader(stream, batch_size=None))
    seconds = time.perf_counter() - began
    # The teacher, the attack, the attacked images of the student, and clean ones.
    each = 1 + 2 * settings.steps + 2 + arm.clean_passes
    passes = each * updates * settings.batch_size / 1e6
    return module.robust_backbone(), Cost(updates, seconds, passes)


def seconds_per_update(
    start: Start, arms: dict[str, Arm], sets: Sets, settings: Settings
) -> dict[str, float]:
    """Return the shortest of several updates of each arm, taken in turns."""
    modules = {
        name: start.module(arm, settings, rate=arm.rates[0], seed=0)
        for name, arm in arms.items()
    }
    optimizers = {
        name: module.optimizer.configure(module, total_steps=10)["optimizer"]
        for name, module in modules.items()
    }
    images = next(sets.batches(settings.batch_size, seed=0))
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(7):
        for name, module in modules.items():
            began = time.perf_counter()
            optimizers[name].zero_grad()
            module.losses(images, measure=False)["train_loss"].backward()
            optimizers[name].step()
            taken[name].append(time.perf_counter() - began)
    return {name: min(each) for name, each in taken.items()}
