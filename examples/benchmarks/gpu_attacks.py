"""Attacks for `gpu.py`, in several precisions and layouts, captured and compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import attack_speed
import interleaved
import timm
import torch
import torch.nn.functional as F
from gpu_measure import (
    WARM,
    Record,
    Setting,
    fitting_batch,
    profiled,
    timing,
    warm_up,
)
from torch import Tensor, nn

from lightly_adv import PGD, AdversarialModule, ThreatModel
from lightly_adv.training.backends import AttackBackend

Runs = dict[str, interleaved.Run]


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


def attacks(record: Record, setting: Setting, *, name: str) -> None:
    """Time PGD in several precisions and layouts, then compiled and captured."""
    chosen = (SMALL_NETWORKS if setting.small else NETWORKS)[name]
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
    names: Sequence[AttackBackend],
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
    for backend in names:
        if backend != "eager" and not setting.cuda:
            record.skip(f"module, {backend}", "timed on CUDA only")
            continue
        module = AdversarialModule(attack, attack_backend=backend)
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
