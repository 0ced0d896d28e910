"""The sections of `gpu.py`: what is timed, and what is counted beside it."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import attack_speed
import interleaved
import operations
import pytorch_lightning as pl
import timm
import torch
import torch.nn.functional as F
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialModule, AdversarialTraining, ThreatModel
from lightly_adv.isolation import modes
from lightly_adv.methods import create_method, list_methods

Runs = dict[str, interleaved.Run]

SYNCHRONISATIONS = (
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "Memcpy DtoH",
)
"""Beginnings of names in a profile, of what makes the host wait for the device."""

WARM = 4
"""Runs until a backend has compared its attack with an eager one and is used."""

START = 12.0
"""Seconds that a process takes until it begins to measure."""


@dataclass(frozen=True)
class Setting:
    """Where, how much and for how long.

    Args:
        device: "cuda" or "cpu".
        small: Tiny networks and batches, one round.
        budget: Seconds of the section.
    """

    device: str
    small: bool
    budget: float
    began: float = field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds of the section that are left."""
        return self.budget - START - (time.perf_counter() - self.began)

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def steps(self) -> int:
        return 2 if self.small else 10

    @property
    def rounds(self) -> int:
        return 1 if self.small else 11

    def clock(self) -> float:
        """Return seconds, when all that was queued is done."""
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


class Record:
    """Prints rows, and appends them to a file as they come, one JSON object a line."""

    def __init__(self, path: Path, *, section: str) -> None:
        self.path, self.section = path, section
        path.touch()

    def row(self, name: str, **values: Any) -> None:
        """Write what was measured."""
        self._write({"section": self.section, "name": name, **values})

    def skip(self, name: str, reason: str) -> None:
        """Write why something was not measured."""
        self._write({"section": self.section, "name": name, "reason": reason})

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Go on after an error, and write it down."""
        try:
            yield
        except Exception as error:  # of compilers, of drivers, of other packages
            message = str(error).strip().splitlines() or [""]
            self.skip(name, f"{type(error).__name__}: {message[0][:300]}")

    def _write(self, row: Mapping[str, Any]) -> None:
        row = {key: rounded(value) for key, value in row.items()}
        section, name, *rest = row.values()
        keys = list(row)[2:]
        values = ", ".join(f"{k} {v}" for k, v in zip(keys, rest, strict=True))
        print(f"{section}: {name}: {values}", flush=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def rounded(value: Any) -> Any:
    """Return numbers with four digits that count."""
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Network(NamedTuple):
    """A network of timm, the side of its images, and their number."""

    name: str
    size: int
    batch: int
    options: Mapping[str, Any] = {}


_VIT = "vit_small_patch14_dinov2"
NETWORKS = {
    "resnet18_32": Network("resnet18_small", 32, 512),
    "vit_s14_98": Network(_VIT, 98, 256, {"img_size": 98}),
    "vit_s14_224": Network(_VIT, 224, 128, {"img_size": 224}),
}
_TINY_VIT = {"img_size": 28, "depth": 1, "embed_dim": 32, "num_heads": 2}
SMALL_NETWORKS = {
    "resnet18_32": Network("resnet8_tiny", 32, 4),
    "vit_s14_98": Network(_VIT, 28, 4, _TINY_VIT),
    "vit_s14_224": Network(_VIT, 28, 4, _TINY_VIT),
}


class Autocast(nn.Module):
    """A network under autocast to bf16, with logits in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.network(images)
        return logits.float()


# Attacks


def attacks(record: Record, setting: Setting, section: str) -> None:
    """Time PGD in several precisions and layouts, then compiled and captured."""
    chosen = (SMALL_NETWORKS if setting.small else NETWORKS)[section]
    torch.manual_seed(0)
    network = timm.create_model(chosen.name, num_classes=10, **chosen.options)
    network = network.to(setting.device)
    images = torch.rand(chosen.batch, 3, chosen.size, chosen.size).to(setting.device)
    labels = (torch.arange(chosen.batch) % 10).to(setting.device)

    def attack(batch: int) -> object:
        runs = attack_speed.competitors(
            network, images[:batch], labels[:batch], steps=setting.steps
        )
        return runs["ideal loop"]()

    # About a hundred runs are to come.
    batch = fitting_batch(setting, attack, chosen.batch, limit=setting.left / 100)
    images, labels = images[:batch], labels[:batch]
    half = Autocast(network)
    compare = partial(compare_runs, record, setting, len(images))
    runs = partial(attack_speed.competitors, steps=setting.steps)
    compare("fp32", runs(network, images, labels))
    compare("bf16", runs(half, images, labels))
    network.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    compare("bf16, channels_last", runs(half, images, labels))
    # What a compiler takes too long for costs its own rows only.
    for group, names in (
        ("captured", ("eager", "cuda_graph")),
        ("compiled", ("compile",)),
    ):
        found = backends(record, setting, names, half, images, labels)
        compare(f"bf16, channels_last, {group}", found, warm=WARM)


def backends(
    record: Record,
    setting: Setting,
    names: Sequence[str],
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
) -> Runs:
    """Return the attack of a module with these backends, and the ideal loop."""
    attack = PGD(
        ThreatModel(eps=attack_speed.EPS),
        steps=setting.steps,
        step_size=attack_speed.STEP,
    )

    def loss(images: Tensor) -> Tensor:
        return F.cross_entropy(network(images), labels)

    shortest = partial(attack_speed.ideal, loss, images, steps=setting.steps)
    runs: Runs = {"ideal loop": attack_speed.frozen(network, shortest)}
    known = "attack_backend" in inspect.signature(AdversarialModule).parameters
    for backend in names:
        if backend != "eager" and not (known and setting.cuda):
            why = "timed on CUDA only" if known else "modules have no attack_backend"
            record.skip(f"module, {backend}", why)
            continue
        options: dict[str, Any] = {"attack_backend": backend} if known else {}
        module = AdversarialModule(attack, **options)
        module.network = network
        runs[f"module, {backend}"] = partial(
            module.perturb, loss, images, bn_mode="eval"
        )
    return runs


def compare_runs(
    record: Record,
    setting: Setting,
    images: int,
    group: str,
    runs: Runs,
    *,
    warm: int = 1,
) -> None:
    """Time runs in turns, and write seconds, memory, reads and ratios to the ideal."""
    if setting.left < 0:
        return record.skip(group, "no time left in this section")
    counted: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        with record.case(f"{group}: {name}"):
            said = warm_up(run, warm)
            with profiled(setting) as counts:
                run()
            counted[name] = counts | said
    if "ideal loop" not in counted:
        return record.skip(group, "there is no ideal loop to compare with")
    seconds = interleaved.measure(
        {name: runs[name] for name in counted},
        rounds=setting.rounds,
        clock=setting.clock,
        # The groups behind this one take as long each.
        budget=max(setting.left / 3, 0.0),
    )
    for name, values in seconds.items():
        record.row(
            f"{group}: {name}",
            **timing(values, images),
            to_ideal=interleaved.ratios(values, seconds["ideal loop"]),
            **counted[name],
        )


def warm_up(run: interleaved.Run, times: int) -> dict[str, Any]:
    """Run until everything is compiled or captured; return what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            run()
    messages = {
        str(each.message) for each in caught if "attack_backend" in str(each.message)
    }
    return {"fell_back": sorted(messages)} if messages else {}


def fitting_batch(
    setting: Setting, run: Callable[[int], object], batch: int, *, limit: float
) -> int:
    """Halve a batch until it fits into memory, and its run into `limit` seconds."""
    while True:
        try:
            run(batch)  # warms up
            start = setting.clock()
            run(batch)
            if setting.clock() - start <= limit or batch == 1:
                return batch
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            torch.cuda.empty_cache()
        batch //= 2


@contextmanager
def profiled(setting: Setting) -> Iterator[dict[str, Any]]:
    """Fill in what the host waited for meanwhile, and the peak memory."""
    found: dict[str, Any] = {}
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if setting.cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    with torch.profiler.profile(activities=kinds) as profiler:
        yield found
    found["host_reads"] = {
        event.key: event.count
        for event in profiler.key_averages()
        if event.key.startswith(SYNCHRONISATIONS)
    }
    if setting.cuda:
        peak = torch.cuda.max_memory_allocated()
        found["peak_mib"] = peak / 2**20
        found["peak_of_the_run_mib"] = (peak - before) / 2**20


# The callback


class SimCLR(pl.LightningModule):
    """Lightly's example, on another ResNet."""

    def __init__(self, resnet: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.projection_head = SimCLRProjectionHead(width, 2048, 128)
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
        max_steps=steps,
        min_epochs=0,
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


def timing(seconds: list[float], images: int) -> dict[str, Any]:
    """Return the quartiles of a measurement, and the images per second of it."""
    low, median, high = interleaved.quartiles(seconds)
    return {
        "images": images,
        "rounds": len(seconds),
        "seconds": [low, median, high],
        "images_per_second": images / median,
    }


def rated(seconds: list[float], base: float) -> float:
    return statistics.median(seconds) / base


def simclr(setting: Setting) -> SimCLR:
    name, width = ("resnet18", 512) if setting.small else ("resnet50", 2048)
    torch.manual_seed(0)
    module = SimCLR(getattr(torchvision.models, name)(), width)
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


# Methods


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
    )
    batch = min(network.batch, 256)
    size = (batch, 3, network.size, network.size)
    views = [torch.rand(size).to(setting.device) for _ in range(3)]
    labels = (torch.arange(batch) % 4).to(setting.device)
    # Methods take images, or lists of two or three views of them.
    errors = []
    for kind, data in (
        ("images", views[0]),
        ("two views", views[:2]),
        ("three views", views),
    ):
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
