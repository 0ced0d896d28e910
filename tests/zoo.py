"""Small LightningModules, one for every way in which a training step keeps state."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics
from lightly.loss import NTXentLoss, TiCoLoss
from lightly.loss.memory_bank import MemoryBankModule
from lightly.models.modules import SimCLRProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from lightly_adv.isolation import leaks

SIZE = 8
STEPS = 4


class Base(pl.LightningModule):
    """Two views, a small convolutional backbone with BatchNorm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = SimCLRProjectionHead(8, 8, 4)
        self.criterion: nn.Module = NTXentLoss()

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.head(self.backbone(images))
        return embedding

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = batch[0]
        loss = self.criterion(self(first), self(second))
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Momentum(Base):
    """An exponential moving average that the training step updates, and a bank."""

    def __init__(self) -> None:
        super().__init__()
        self.momentum_backbone = copy.deepcopy(self.backbone)
        self.momentum_head = copy.deepcopy(self.head)
        for parameter in self.momentum_backbone.parameters():
            parameter.requires_grad = False
        # Its bank and pointer are buffers that no state_dict shows.
        self.criterion = NTXentLoss(memory_bank_size=(16, 4))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        update_momentum(self.backbone, self.momentum_backbone, m=0.9)
        update_momentum(self.head, self.momentum_head, m=0.9)
        query, key = batch[0]
        with torch.no_grad():
            target = self.momentum_head(self.momentum_backbone(key))
        return {"loss": self.criterion(self(query), target), "note": "kept"}


class PlainTensor(Base):
    """TiCo keeps its covariance in a plain attribute that it reassigns."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = TiCoLoss()


class PythonRandom(Base):
    """Masks from Python's, NumPy's and torch's random numbers."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        masks = torch.tensor(
            [random.random() < 0.7 for _ in range(SIZE)]
        ) * torch.from_numpy(np.random.rand(SIZE) < 0.8)
        first, second = (view * masks * (torch.rand(SIZE) < 0.9) for view in batch[0])
        return self.criterion(self(first), self(second))


class WeightNorm(Base):
    """Weights that are computed from others, in the old way and in the new one."""

    def __init__(self) -> None:
        super().__init__()
        with_warning: Any = old_weight_norm
        self.old = with_warning(nn.Linear(4, 4))
        self.new = weight_norm(nn.Linear(4, 4))
        self.spectral = spectral_norm(nn.Linear(4, 4))

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.spectral(self.new(self.old(super().forward(images))))
        return embedding


class Metrics(Base):
    """States of torchmetrics, containers, counters and an own random source."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torchmetrics.MeanMetric()
        self.listed = torchmetrics.CatMetric()
        self.history: list[float] = []
        self.recent: deque[Tensor] = deque(maxlen=3)
        self.counts: dict[str, Any] = {"steps": 0, "nested": {"losses": []}}
        self.calls = 0
        self.source = torch.Generator().manual_seed(3)
        self.array = np.zeros(2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = batch[0]
        scale = torch.rand((), generator=self.source) + 0.5
        loss = self.criterion(self(first), self(second)) * scale
        self.mean.update(loss.detach())
        self.listed.update(loss.detach())
        self.history.append(float(loss))
        self.recent.append(loss.detach())
        self.counts["steps"] += 1
        self.counts["nested"]["losses"].append(float(loss))
        self.calls += 1
        self.array += 1
        self.log_dict({"loss": loss, "mean": self.mean})
        return loss


class HiddenTeacher(Base):
    """A teacher with BatchNorm in train mode, kept out of the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [copy.deepcopy(self.backbone)]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = batch[0]
        with torch.no_grad():
            target = self.hidden[0](second)
        return (self.backbone(first) - target).square().mean()


class InPlace(Base):
    """Prototypes that the training step normalises in place, and shared modules."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Linear(4, 6, bias=False)
        self.alias = self.head

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        with torch.no_grad():
            weight = nn.functional.normalize(self.prototypes.weight, dim=1)
            self.prototypes.weight.copy_(weight)
        first, second = batch[0]
        scores = self.prototypes(self.alias(self.backbone(first)))
        other = self.prototypes(self.head(self.backbone(second)))
        return nn.functional.cross_entropy(scores, other.softmax(dim=1).detach())


class Hooks(Base):
    """Hooks that the training step adds, and takes away from before."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.handle: Any = None

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.handle is not None:
            self.handle.remove()
        self.handle = self.backbone.register_forward_hook(self._count)
        return super().training_step(batch, batch_idx)

    def _count(self, *_: Any) -> None:
        self.seen += 1


def _start_banks(module: nn.Module) -> None:
    """Without a bank Lightly leaves the pointer uninitialised."""
    for part in module.modules():
        if isinstance(part, MemoryBankModule):
            part.bank_ptr.zero_()


ZOO: list[Callable[[], pl.LightningModule]] = [
    Base,
    Momentum,
    PlainTensor,
    PythonRandom,
    WeightNorm,
    Metrics,
    HiddenTeacher,
    InPlace,
    Hooks,
]


def batches(steps: int = STEPS) -> torch.utils.data.DataLoader[Any]:
    """Return a loader of two views, labels and names, without random numbers."""
    generator = torch.Generator().manual_seed(0)
    data = [
        (
            [torch.rand(6, 3, SIZE, SIZE, generator=generator) for _ in range(2)],
            torch.arange(6),
            [f"{at}.png" for at in range(6)],
        )
        for _ in range(steps)
    ]
    return torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]


def fit(
    create: Callable[[], pl.LightningModule],
    callbacks: list[pl.Callback],
    *,
    data: torch.utils.data.DataLoader[Any] | None = None,
    **arguments: Any,
) -> tuple[pl.LightningModule, pl.Trainer]:
    """Train a new module on two epochs, from the same seeds."""
    pl.seed_everything(0, verbose=False)
    module = create()
    _start_banks(module)
    pl.seed_everything(1, verbose=False)
    options: dict[str, Any] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **arguments,
    }
    trainer = pl.Trainer(callbacks=callbacks, **options)
    trainer.fit(module, batches() if data is None else data)
    return module, trainer


class SameSteps(pl.Callback):
    """Record the gradients, and train on the same random ones in every run.

    Gradients that differ by rounding would otherwise make all later states differ.
    """

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def on_before_optimizer_step(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        step = trainer.global_step
        generator = torch.Generator().manual_seed(step)
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                self.gradients[f"{name} {step}"] = parameter.grad.clone()
                parameter.grad.normal_(generator=generator)


def state(module: pl.LightningModule, trainer: pl.Trainer) -> leaks.Snapshot:
    """Return everything that training leaves behind, to the last bit."""
    seen = leaks.snapshot(module)
    optimizer = trainer.optimizers[0].state_dict()["state"]
    return leaks.Snapshot(
        {
            **seen.values,
            **{f"logged {key}": each for key, each in trainer.logged_metrics.items()},
            **{
                f"optimizer {key} {name}": value
                for key, each in optimizer.items()
                for name, value in each.items()
                if value is not None
            },
        }
    )
