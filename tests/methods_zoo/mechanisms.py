"""What public projects do in a training step, around it and with their batches."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightly.loss import NTXentLoss
from lightly.utils.benchmarking import OnlineLinearClassifier
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import CombinedLoader
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel

from lightly_adv.types import NormalizeStats
from tests.methods_zoo.method import (
    BATCH,
    FEATURES,
    LARGE,
    NORMALIZE,
    SMALL,
    convolutional,
    make_images,
)

STEPS = 3
"""Batches of a training."""


@dataclass(frozen=True)
class Mechanism:
    """A module with one mechanism, and the training that it takes part in.

    Args:
        name: What it does.
        create: Makes a new LightningModule.
        data: Makes the training data: a loader, or several.
        callbacks: Makes the callbacks that the project trains with.
        logger: Makes the logger.
        normalize: With which the images were normalised.
        views: What `AdversarialTraining` has to be told of them.
    """

    name: str
    create: Callable[[], pl.LightningModule]
    data: Callable[[], Any]
    callbacks: Callable[[], list[pl.Callback]] = list
    logger: Callable[[], Logger | bool] = bool
    normalize: NormalizeStats | None = field(default_factory=lambda: NORMALIZE)
    views: Any = None

    def fit(self, callbacks: list[pl.Callback]) -> pl.Trainer:
        """Train a new module."""
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[*self.callbacks(), *callbacks],
            logger=self.logger(),
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self.create(), self.data())
        return trainer


def loader(draw: Callable[[Generator], Any]) -> torch.utils.data.DataLoader[Any]:
    """Return a loader over the same batches every time, without random numbers."""
    generator = torch.Generator().manual_seed(0)
    batches = [draw(generator) for _ in range(STEPS)]
    return torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def pair() -> Any:
    """Two views and labels."""
    return loader(lambda g: ([make_images(g), make_images(g)], torch.arange(BATCH) % 2))


class Contrastive(pl.LightningModule):
    """SimCLR as small as it gets; what follows changes one thing each."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = convolutional()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 4))
        self.criterion = NTXentLoss()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.head(self.backbone(x))
        return z

    def loss(self, first: Tensor, second: Tensor) -> Tensor:
        loss: Tensor = self.criterion(self(first), self(second))
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(*batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SchedulerInStep(Contrastive):
    """Steps its own schedule, and sets a rate by hand, in the training step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        schedule: Any = self.lr_schedulers()
        schedule.step()
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["momentum"] *= 0.99
        self.log("lr", optimizer.param_groups[0]["lr"])
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        # As CielAl/SimCLR-Lightning: so rarely that Lightning never steps it.
        schedule = {"scheduler": StepLR(optimizer, 1, 0.5), "frequency": 1000}
        return [optimizer], [schedule]


class TrainingFlag(Contrastive):
    """The decoder runs in training only, and without it there is no loss."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(4, 3)

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        out = {"features": self(x)}
        if self.training:
            keep = torch.rand(len(x), 1, 1, 1, device=x.device) > 0.3
            out["decoded"] = self.decoder(self(x * keep))
        return out

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        first, second = batch[0]
        target = second.mean(dim=(2, 3))
        loss: Tensor = (self.encode(first)["decoded"] - target).square().mean()
        return loss


class Flip(nn.Module):
    """Augments as kornia's and Lightning's tutorials do."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        flipped = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
        return torch.where(flipped, x.flip(-1), x)


class AugmentInStep(Contrastive):
    """Makes its views in the training step, where no gradient passes: torchgeo."""

    def __init__(self) -> None:
        super().__init__()
        self.augment = Flip()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = batch["image"]
        return self.loss(self.augment(x), self.augment(x))


class AugmentInHook(Contrastive):
    """Makes its views in the hook that Lightning has for it."""

    def __init__(self) -> None:
        super().__init__()
        self.augment = Flip()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x = batch["image"]
        return [self.augment(x), self.augment(x)], x.new_zeros(len(x))


class StackedWithKey(Contrastive):
    """Both views in one tensor; the key goes through without a gradient: MoCo."""

    def __init__(self) -> None:
        super().__init__()
        self.key = AveragedModel(self.backbone, use_buffers=True)
        self.register_buffer("queue", torch.zeros(4, 2 * BATCH))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))
        self.queue: Tensor
        self.pointer: Tensor

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        query, key = batch[:, 0], batch[:, 1]
        with torch.no_grad():
            self.key.update_parameters(self.backbone)
            k = nn.functional.normalize(self.head(self.key(key)), dim=1)
        q = nn.functional.normalize(self(query), dim=1)
        positive = (q * k).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, q @ self.queue.clone()], dim=1)
        start = int(self.pointer)
        self.queue[:, start : start + BATCH] = k.T
        self.pointer[0] = (start + BATCH) % (2 * BATCH)
        labels = torch.zeros(len(q), dtype=torch.long, device=q.device)
        return nn.functional.cross_entropy(logits / 0.2, labels)


class TwoLoaders(Contrastive):
    """A batch of each of several loaders: labelled and unlabelled images."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch["labelled"]
        supervised = nn.functional.cross_entropy(self.classifier(self(images)), labels)
        return supervised + self.loss(*batch["unlabelled"])


class DictOfCrops(Contrastive):
    """Crops by name, and crops of all sizes through the network one by one."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        crops = batch["crops"]
        targets = [self(each).detach() for each in crops["global"]]
        found = [self(each) for each in (*crops["global"], *crops["local"])]
        return torch.stack(
            [(one - two).square().mean() for one in found for two in targets]
        ).mean()


class AverageOfWeights(pl.Callback):
    """Keeps an exponential moving average beside the module."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        for name, value in pl_module.state_dict().items():
            last = self.weights.get(name, value)
            self.weights[name] = (0.9 * last + 0.1 * value).clone()


class OnlineClassifier(Contrastive):
    """Lightly's online classifier, in a group of parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.online = OnlineLinearClassifier(feature_dim=FEATURES, num_classes=6)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (first, second), labels = batch
        features = self.backbone(first).flatten(start_dim=1)
        loss = self.criterion(self.head(features), self(second))
        online, logged = self.online.training_step((features.detach(), labels), 0)
        self.log_dict(logged, sync_dist=True, batch_size=BATCH)
        total: Tensor = loss + online
        return total

    def configure_optimizers(self) -> Any:
        trained = [*self.backbone.parameters(), *self.head.parameters()]
        groups = [
            {"params": trained, "name": "method"},
            {"params": self.online.parameters(), "lr": 0.5, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


class SharedCounter(Contrastive):
    """Seeds its masks with a counter that loader processes share: I-JEPA."""

    def __init__(self) -> None:
        super().__init__()
        self.counter: Any = multiprocessing.Value("i", -1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        with self.counter.get_lock():
            self.counter.value += 1
        generator = torch.Generator().manual_seed(self.counter.value)
        keep = torch.rand(LARGE, LARGE, generator=generator) > 0.3
        first, second = batch[0]
        return self.loss(first * keep.to(first.device), second)


class ByKeyword(Contrastive):
    """Validates with its training step, which it calls by keyword."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("batch", float(batch_idx))
        return self.loss(*batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = self.training_step(batch_idx=batch_idx, batch=batch)
        self.log("val_loss", loss)

    def val_dataloader(self) -> Any:
        return pair()


class LoggerPaths(Contrastive):
    """Asks the logger where it writes, and writes there in the training step."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logger: Any = self.logger
        folder = Path(logger.log_dir) / "images"
        folder.mkdir(parents=True, exist_ok=True)
        assert self.trainer.log_dir == logger.log_dir
        if len(logger.name) > 0 and logger.version is not None:
            torch.save(batch[0][0][0], folder / f"{batch_idx}.pt")
        loss = super().training_step(batch, batch_idx)
        logger.experiment.log_metrics({"own": float(loss)}, step=batch_idx)
        logger.log_metrics({"more": float(loss)}, step=batch_idx)
        return loss


class Counter:
    """A plain object that counts, and remembers the last loss."""

    def __init__(self) -> None:
        self.calls = 0
        self.last: Tensor | None = None
        self.history: list[float] = []


class PlainObject(Contrastive):
    """Keeps what it counts in an object of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.counter.calls += 1
        weight = 1 / self.counter.calls
        loss = weight * super().training_step(batch, batch_idx)
        self.counter.last = loss.detach()
        self.counter.history.append(float(loss))
        return loss


class Whitening(Contrastive):
    """Whitens embeddings with a Cholesky factor, in several rounds: W-MSE."""

    def whiten(self, z: Tensor) -> Tensor:
        centred = z - z.mean(dim=0)
        eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        covariance = centred.T @ centred / (len(z) - 1) + 0.1 * eye
        factor = torch.linalg.cholesky(covariance)
        white: Tensor = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
        return white

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        first, second = (self(each) for each in batch[0])
        order = torch.randperm(len(first))
        whitened = [self.whiten(each[order]) for each in (first, second)]
        return (whitened[0] - whitened[1]).square().mean()


class ChannelSampling(Contrastive):
    """Trains on channels that it samples from eight, in training only: ChannelViT."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone[0] = nn.Conv2d(8, FEATURES, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            keep = torch.rand(8, device=x.device) < 0.7
            x = x * keep[:, None, None] / 0.7
        return super().forward(x)


class ConcatenatedForward(Contrastive):
    """Both views in one pass, the outputs of the step in a dictionary: solo-learn."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        indices, views, labels = batch
        z = self(torch.cat(views)).chunk(2)
        loss = self.criterion(*z)
        self.log_dict({"loss": loss, "index": indices.float().mean()}, sync_dist=True)
        return {"loss": loss, "z": [each.detach() for each in z], "labels": labels}


class RatesByHook(Contrastive):
    """Sets rates and zeroes gradients in Lightning's hooks: lightning-bolts."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.trainer.global_step)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def on_after_backward(self) -> None:
        for parameter in self.head.parameters():
            if parameter.grad is not None and self.trainer.global_step < 1:
                parameter.grad.zero_()


def eight_channels() -> Any:
    def draw(generator: Generator) -> Any:
        size = (BATCH, 8, LARGE, LARGE)
        views = [torch.rand(size, generator=generator) for _ in range(2)]
        return views, torch.arange(BATCH)

    return loader(draw)


def one_image() -> Any:
    return loader(lambda g: {"image": make_images(g), "label": torch.arange(BATCH)})


def crops(generator: Generator) -> Any:
    sizes = {"global": [LARGE] * 2, "local": [SMALL] * 2}
    named = {
        name: [make_images(generator, size) for size in each]
        for name, each in sizes.items()
    }
    return {"crops": named, "label": torch.arange(BATCH)}


def two_loaders() -> Any:
    labelled = loader(lambda g: (make_images(g), torch.arange(BATCH) % 2))
    unlabelled = loader(lambda g: [make_images(g), make_images(g)])
    return CombinedLoader(
        {"labelled": labelled, "unlabelled": unlabelled}, "max_size_cycle"
    )


EIGHT: NormalizeStats = {"mean": [0.0] * 8, "std": [1.0] * 8}

MECHANISMS = [
    Mechanism("scheduler in the step", SchedulerInStep, pair),
    Mechanism("branch on self.training", TrainingFlag, pair),
    Mechanism("augmentation in the step", AugmentInStep, one_image, views="augment"),
    Mechanism("augmentation in a hook", AugmentInHook, one_image),
    Mechanism(
        "stack of views with a key",
        StackedWithKey,
        lambda: loader(lambda g: torch.stack([make_images(g), make_images(g)], dim=1)),
    ),
    Mechanism("dict of loaders", TwoLoaders, two_loaders),
    Mechanism("dict of crops", DictOfCrops, lambda: loader(crops)),
    Mechanism("average in a callback", Contrastive, pair, lambda: [AverageOfWeights()]),
    Mechanism("online classifier", OnlineClassifier, pair),
    Mechanism("shared counter", SharedCounter, pair),
    Mechanism("step by keyword", ByKeyword, pair),
    Mechanism(
        "paths of the logger",
        LoggerPaths,
        pair,
        logger=lambda: CSVLogger(tempfile.mkdtemp(), name="run"),
    ),
    Mechanism("plain object", PlainObject, pair),
    Mechanism("whitening", Whitening, pair),
    Mechanism(
        "eight channels, sampled",
        ChannelSampling,
        eight_channels,
        normalize=EIGHT,
    ),
    Mechanism(
        "outputs in a dictionary",
        ConcatenatedForward,
        lambda: loader(
            lambda g: [
                torch.arange(BATCH),
                [make_images(g), make_images(g)],
                torch.arange(BATCH),
            ]
        ),
    ),
    Mechanism("rates by hook", RatesByHook, pair),
]
