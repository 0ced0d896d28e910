"""Training steps for `gpu.py`: that of the callback, and those of the methods."""

from __future__ import annotations

import itertools
import logging
import statistics
import time
import warnings
from contextlib import ExitStack
from functools import partial
from typing import Any

import attack_speed
import interleaved
import operations
import pytorch_lightning as pl
import timm
import torch
import torchvision
from gpu_attacks import NETWORKS, SMALL_NETWORKS, Network
from gpu_measure import Record, Setting, fitting_batch, profiled, rated, timing
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialTraining, ThreatModel
from lightly_adv.isolation import modes
from lightly_adv.methods import create_method, list_methods


class SimCLR(pl.LightningModule):
    """Lightly's example, on another backbone."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = SimCLRProjectionHead(width, width, 128)
        self.criterion = NTXentLoss()

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        x0, x1 = batch[0]
        z0, z1 = (self.projection_head(self.backbone(x).flatten(1)) for x in (x0, x1))
        loss: Tensor = self.criterion(z0, z1)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.06)


class StepTimes(pl.Callback):
    """Take the time between the ends of batches, when the first have warmed up.

    Before the clock starts, one batch is profiled.
    """

    WARM = 2

    def __init__(self, setting: Setting, seconds: float) -> None:
        self.setting, self.until = setting, time.perf_counter() + seconds
        self.counts: dict[str, Any] = {}
        self.ends: list[float] = []
        self._profiling = ExitStack()

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.WARM:
            self.counts = self._profiling.enter_context(profiled(self.setting))

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._profiling.close()
        if trainer.global_step > self.WARM:
            self.ends.append(self.setting.clock())
        measured = len(self.ends) - 1
        late = bool(self.ends) and self.ends[-1] > self.until
        if measured >= self.setting.rounds or (measured > 0 and late):
            trainer.should_stop = True

    @property
    def seconds(self) -> list[float]:
        """Seconds of each batch behind the one that was profiled."""
        return [later - earlier for earlier, later in itertools.pairwise(self.ends)]


def train(
    setting: Setting,
    module: pl.LightningModule,
    batch: Any,
    callbacks: list[pl.Callback],
    *,
    seconds: float,
) -> StepTimes:
    """Train on one batch again and again, and take the times."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    times = StepTimes(setting, seconds)
    steps = setting.rounds + StepTimes.WARM + 2
    trainer = pl.Trainer(
        # More than schedules have periods; the callback stops in the first one.
        max_epochs=1000,
        accelerator="gpu" if setting.cuda else "cpu",
        devices=1,
        precision="bf16-mixed",
        callbacks=[*callbacks, times],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = torch.utils.data.DataLoader([batch] * steps, batch_size=None)
    trainer.fit(module, batches)
    return times


def callback(record: Record, setting: Setting) -> None:
    """Time the callback's step on SimCLR against clean training and the ideal."""
    size, most = (32, 2) if setting.small else (224, 128)
    module = simclr(setting)
    optimizer = module.configure_optimizers()
    views = [torch.rand(most, 3, size, size).to(setting.device) for _ in range(2)]

    def clean(batch: int) -> None:
        clean_step(module, optimizer, [view[:batch] for view in views])

    # Two trainings and the ideal, a few steps each, of which most attack.
    limit = setting.left / (30 * setting.steps)
    batch = fitting_batch(setting, clean, most, limit=limit)
    views = [view[:batch] for view in views]
    part = max(setting.left, 3.0) / 3
    ideal = partial(ideal_step, module, optimizer, views, setting.steps)
    counts = [operations.count(clean, batch), operations.count(ideal)]
    record.row("counted operations", ideal_to_clean=counts[1] / counts[0])
    timed = interleaved.measure(
        {"clean": partial(clean, batch), "ideal": ideal},
        rounds=setting.rounds,
        clock=setting.clock,
        budget=part,
    )
    base = statistics.median(timed["ideal"])
    for name, seconds in timed.items():
        record.row(name, **timing(seconds, batch), to_ideal=rated(seconds, base))
    attack = PGD(ThreatModel(eps=attack_speed.EPS), steps=setting.steps)
    for name, callbacks in (
        ("Trainer, clean", []),
        ("Trainer, callback", [AdversarialTraining(attack)]),
    ):
        times = train(
            setting, module, (views, torch.zeros(batch)), [*callbacks], seconds=part
        )
        record.row(
            name,
            **timing(times.seconds, batch),
            to_ideal=rated(times.seconds, base),
            **times.counts,
        )


def simclr(setting: Setting) -> SimCLR:
    torch.manual_seed(0)
    if setting.small:
        module = SimCLR(timm.create_model("resnet8_tiny", num_classes=0), 128)
    else:
        resnet = torchvision.models.resnet50()
        module = SimCLR(nn.Sequential(*list(resnet.children())[:-1]), 2048)
    return module.to(setting.device, memory_format=torch.channels_last).train()


def clean_step(module: Any, optimizer: Any, views: list[Tensor]) -> None:
    with torch.autocast(views[0].device.type, dtype=torch.bfloat16):
        loss = module.training_step((views,), 0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def ideal_step(module: Any, optimizer: Any, views: list[Tensor], steps: int) -> None:
    """Attack both views as short as it can be written, then train on them."""
    start = torch.stack(views)

    def loss(both: Tensor) -> Tensor:
        with torch.autocast(both.device.type, dtype=torch.bfloat16):
            return module.training_step((list(both),), 0)

    with modes.frozen_parameters(module):
        perturbed = attack_speed.ideal(loss, start, steps=steps)
    clean_step(module, optimizer, list(perturbed))


def methods(record: Record, setting: Setting) -> None:
    """Time the training step of each method that is registered."""
    networks = SMALL_NETWORKS if setting.small else NETWORKS
    cases = [(name, networks["resnet18_32"]) for name in list_methods()]
    cases += [
        (name, networks["vit_s14_98"]) for name in list_methods() if name in TUNED
    ]
    for at, (name, network) in enumerate(cases):
        share = setting.left / (len(cases) - at)
        if share <= 0:
            record.skip(name, "no time left in this section")
            continue
        with record.case(name):
            method(record, setting, name, network, share)


OPTIONS: dict[str, dict[str, Any]] = {"advcl": {"clusters": (2,)}}
"""What methods cannot do without on few images."""

TUNED = ("deacl", "robust_distillation")
"""Methods that make ready encoders robust, which are transformers today."""


def method(
    record: Record, setting: Setting, name: str, network: Network, share: float
) -> None:
    """Time a method with what it has by default."""
    label = f"{name}, {network.name} at {network.size}"
    torch.manual_seed(0)
    module = create_method(
        name,
        backbone=timm.create_model(network.name, num_classes=0, **network.options),
        attack=PGD(ThreatModel(eps=attack_speed.EPS), steps=setting.steps),
        **OPTIONS.get(name, {}),
    )
    batch = min(network.batch, 256)
    size = (batch, 3, network.size, network.size)
    views = [torch.rand(size).to(setting.device) for _ in range(4)]
    labels = (torch.arange(batch) % 4).to(setting.device)
    # Methods take images, or lists of two to four views of them.
    kinds = {"images": views[0]} | {f"{n} views": views[:n] for n in (2, 3, 4)}
    errors = []
    for kind, data in kinds.items():
        try:
            times = train(setting, module, (data, labels), [], seconds=share / 2)
        except Exception as error:  # of the wrong kind of batch
            errors.append(f"{kind}: {type(error).__name__}: {str(error)[:120]}")
            continue
        return record.row(
            label,
            batch=kind,
            **timing(times.seconds, batch),
            **times.counts,
        )
    record.skip(label, "; ".join(errors))
