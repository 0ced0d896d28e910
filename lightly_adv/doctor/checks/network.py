"""Checks of layers: what normalises images, and what BatchNorm layers use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightly_adv.callbacks.preflight import layers_losing_activation
from lightly_adv.doctor import normalizations
from lightly_adv.doctor.checks.named import Result, named
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import SkipError
from lightly_adv.functional import pixels
from lightly_adv.types import NormalizeStats

SMALL_BATCH = 8
"""Batches below have statistics that are mostly noise."""

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


@named
def backbone(probe: Probe) -> Iterator[Result]:
    """Compare mean and std with those in the configuration of a timm backbone.

    A normalisation inside of the module counts as well; two are one too many.
    """
    if not isinstance(probe.module, nn.Module):
        raise SkipError
    applied = probe.threat_model.normalize
    for name, part in probe.module.named_modules():
        if type(part).__name__ != "Normalize" or not hasattr(part, "mean"):
            continue
        if applied is not None:
            yield (
                "FAIL",
                "the views come normalised, and the module normalises them once more "
                f"({name!r}).",
                "Normalise once: with normalize=None in the transform and in the "
                "ThreatModel, or without that layer.",
            )
            return
        applied = _stats(part)
        break
    for name, part in probe.module.named_modules():
        stats = pixels.stats_of_timm(part)
        if stats is not None:
            yield _compare(name, part, stats, applied)


def _compare(
    name: str, part: nn.Module, stats: NormalizeStats, applied: NormalizeStats | None
) -> Result:
    if normalizations.near(stats, applied, tolerance=0.01):
        return "PASS", f"{name} gets images normalised as its configuration says."
    how = "plain pixels" if applied is None else _described(applied)
    text = f"{name} gets {how}, but its configuration says {_described(stats)}"
    if _untrained(part):
        return "PASS", f"{text}; it is not trained yet, so that does not matter."
    return (
        "WARN",
        f"{text}.",
        "Normalise images as the weights were trained with, and use "
        "ThreatModel.from_timm(backbone).",
    )


def _stats(layer: Any) -> NormalizeStats:
    return {
        key: torch.as_tensor(getattr(layer, key)).flatten().tolist()
        for key in ("mean", "std")
    }


def _untrained(part: nn.Module) -> bool:
    """Whether all normalising layers are as they are made: training moves them."""
    weights = [
        weight.detach()
        for layer in part.modules()
        if isinstance(layer, _NORMS)
        for weight in layer.parameters(recurse=False)
    ]
    return bool(weights) and all(bool((w == w[0]).all()) for w in weights)


def _described(stats: NormalizeStats) -> str:
    mean, std = (
        tuple(round(float(value), 4) for value in stats[key]) for key in ("mean", "std")
    )
    return f"mean {mean} and std {std}"


@named
def batch_norm(probe: Probe) -> Iterator[Result]:
    """Look at modes, running statistics, batch size, and the way to SyncBatchNorm."""
    if not isinstance(probe.module, nn.Module):
        raise SkipError
    layers = [each for each in probe.module.modules() if isinstance(each, _BatchNorm)]
    if not layers:
        yield "PASS", "there are no BatchNorm layers."
        return
    training = sum(each.training for each in layers)
    mode = probe.training.bn_mode
    seen = (
        f"{training} of {_count(layers)} in train mode; bn_mode={mode!r} for the "
        "attack."
    )
    problems = [
        *_statistics(layers, mode),
        *_small_batch(probe, training),
        *_synchronised(probe),
    ]
    if not problems:
        yield "PASS", seen
    for at, (text, remedy) in enumerate(problems):
        yield "WARN", f"{seen} {text}" if at == 0 else text, remedy


def _statistics(layers: Sequence[_BatchNorm], mode: str) -> Iterator[tuple[str, str]]:
    fresh = [
        each
        for each in layers
        if _fresh(each) and (mode == "eval" or not each.training)
    ]
    if fresh:
        otherwise = (
            "pass bn_mode='batch', the default."
            if mode == "eval"
            else "put these layers into train mode."
        )
        yield (
            f"The running statistics of {_count(fresh)} have seen no batch (mean 0, "
            "variance 1), and the attack normalises with them: at the start of "
            "training it is aimed at another network.",
            "Start from a trained backbone, grow the attack with AttackSchedule, or "
            + otherwise,
        )
    broken = [each for each in layers if _broken(each)]
    if broken:
        yield (
            f"The running statistics of {_count(broken)} are not finite.",
            "Load other weights, or reset them with layer.reset_running_stats().",
        )


def _small_batch(probe: Probe, training: int) -> Iterator[tuple[str, str]]:
    if probe.batch is None or probe.random_images is not None:
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
            f"sync_batchnorm=True turns timm's {kind} ({_count(names)}) into torch's "
            "SyncBatchNorm, which drops their activation.",
            "Call timm.layers.convert_sync_batchnorm(module) yourself, and leave "
            "sync_batchnorm=False.",
        )


def _fresh(layer: _BatchNorm) -> bool:
    mean, var = layer.running_mean, layer.running_var
    if mean is None or var is None or layer.num_batches_tracked:
        return False
    return bool((mean == 0).all()) and bool((var == 1).all())


def _broken(layer: _BatchNorm) -> bool:
    found = (layer.running_mean, layer.running_var)
    return any(not bool(each.isfinite().all()) for each in found if each is not None)


def _count(layers: Sequence[object]) -> str:
    return "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
