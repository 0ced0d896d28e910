"""Which statistics do BatchNorm layers use?"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightly_adv.callbacks.preflight import layers_losing_activation
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, SkipError

NAME = "batch norm"

SMALL_BATCH = 8
"""Batches below have statistics that are mostly noise."""

_OTHERWISE = {
    "eval": "pass bn_mode='batch', the default.",
    "batch": "put these layers into train mode.",
    "train": "put these layers into train mode.",
}


def batch_norm(probe: Probe) -> Iterator[Check]:
    """Look at modes, running statistics, batch size, and the way to SyncBatchNorm."""
    if not isinstance(probe.module, nn.Module):
        raise SkipError
    layers = [each for each in probe.module.modules() if isinstance(each, _BatchNorm)]
    if not layers:
        yield Check(NAME, "PASS", "there are no BatchNorm layers.")
        return
    training = sum(each.training for each in layers)
    mode = probe.training.bn_mode
    seen = (
        f"{training} of {_layers(len(layers))} in train mode; bn_mode={mode!r} for the "
        "attack"
    )
    problems = [
        *_statistics(layers, mode),
        *_batch(probe, training),
        *_synchronised(probe),
    ]
    if not problems:
        yield Check(NAME, "PASS", f"{seen}.")
    for at, (text, remedy) in enumerate(problems):
        yield Check(NAME, "WARN", f"{seen}. {text}" if at == 0 else text, remedy)


def _statistics(layers: list[_BatchNorm], mode: str) -> Iterator[tuple[str, str]]:
    used = layers if mode == "eval" else [each for each in layers if not each.training]
    fresh = sum(_fresh(each) for each in used)
    if fresh:
        yield (
            f"The running statistics of {_layers(fresh)} have seen no batch (mean 0, "
            "variance 1), and the attack normalises with them: at the start of "
            "training it is aimed at another network.",
            "Start from a trained backbone, grow the attack with AttackSchedule, or "
            + _OTHERWISE[mode],
        )
    broken = sum(_broken(each) for each in layers)
    if broken:
        yield (
            f"The running statistics of {_layers(broken)} are not finite.",
            "Load other weights, or reset them with layer.reset_running_stats().",
        )


def _batch(probe: Probe, training: int) -> Iterator[tuple[str, str]]:
    if probe.batch is None or probe.random_data:
        return
    size = probe.full_size or min(len(each) for each in probe.selected.images)
    if training and size < SMALL_BATCH:
        yield (
            f"A batch of {size} images gives noisy statistics.",
            "Train with larger batches, freeze the statistics by putting the layers "
            "into eval mode, or use GroupNorm.",
        )


def _synchronised(probe: Probe) -> Iterator[tuple[str, str]]:
    names = layers_losing_activation(probe.module)
    if names and probe.options.get("sync_batchnorm"):
        kind = type(probe.module.get_submodule(names[0])).__name__
        yield (
            f"sync_batchnorm=True turns timm's {kind} ({_layers(len(names))}) into "
            "torch's SyncBatchNorm, which drops their activation.",
            "Call timm.layers.convert_sync_batchnorm(module) yourself, and leave "
            "sync_batchnorm=False.",
        )


def _fresh(layer: _BatchNorm) -> bool:
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None:
        return False
    counted = layer.num_batches_tracked
    unseen = counted is None or int(counted) == 0
    return unseen and bool((mean == 0).all()) and bool((var == 1).all())


def _broken(layer: _BatchNorm) -> bool:
    found = (layer.running_mean, layer.running_var)
    return any(not bool(each.isfinite().all()) for each in found if each is not None)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"
