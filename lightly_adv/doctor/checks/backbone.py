"""Does the backbone see what it was made for?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, SkipError
from lightly_adv.functional import pixels
from lightly_adv.types import NormalizeStats

NAME = "backbone"

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def backbone(probe: Probe) -> Iterator[Check]:
    """Compare mean and std with those in the configuration of a timm backbone.

    A normalisation inside of the module counts as well; two are one too many.
    """
    if not isinstance(probe.module, nn.Module):
        raise SkipError
    outside = probe.threat_model.normalize
    inside = _inside(probe.module)
    if outside is not None and inside is not None:
        yield Check(
            NAME,
            "FAIL",
            f"the views come normalised, and the module normalises them once more "
            f"({inside[0]!r}).",
            "Normalise once: with normalize=None in the transform and in the "
            "ThreatModel, or without that layer.",
        )
        return
    seen = outside if inside is None else _stats(inside[1])
    for name, part in probe.module.named_modules():
        stats = pixels.stats_of_timm(part)
        if stats is not None:
            yield _compare(name, part, stats, seen)


def _compare(
    name: str, part: nn.Module, stats: NormalizeStats, seen: NormalizeStats | None
) -> Check:
    expected = (_rounded(stats["mean"]), _rounded(stats["std"]))
    actual = (
        ((0.0,), (1.0,))
        if seen is None
        else (_rounded(seen["mean"]), _rounded(seen["std"]))
    )
    if _near(expected, actual):
        text = f"{name} gets images normalised as its configuration says."
        return Check(NAME, "PASS", text)
    how = "plain pixels" if seen is None else f"mean {actual[0]} and std {actual[1]}"
    text = (
        f"{name} gets {how}, but its configuration says mean {expected[0]} and std "
        f"{expected[1]}"
    )
    if _untrained(part):
        text += "; it is not trained yet, so that does not matter."
        return Check(NAME, "PASS", text)
    return Check(
        NAME,
        "WARN",
        f"{text}.",
        "Normalise images as the weights were trained with, and use "
        "ThreatModel.from_timm(backbone).",
    )


def _inside(module: nn.Module) -> tuple[str, nn.Module] | None:
    """Return a layer that normalises images, and its name."""
    for name, part in module.named_modules():
        if type(part).__name__ == "Normalize" and hasattr(part, "mean"):
            return name, part
    return None


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


def _near(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> bool:
    return all(
        abs(x - y) < 0.01
        for a, b in zip(first, second, strict=True)
        for x, y in zip(_stretched(a, b), _stretched(b, a), strict=False)
    )


def _stretched(values: Sequence[float], other: Sequence[float]) -> list[float]:
    return list(values) * (len(other) if len(values) == 1 else 1)


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(each), 4) for each in values)
