"""Do gradients survive the number format?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, SkipError

NAME = "precision"

LOST = 0.05
"""Share of gradient entries that may underflow to zero."""

FLIPPED = 0.2
"""Share of gradient entries that may change their sign."""


def precision(probe: Probe) -> Iterator[Check]:
    """Compare gradients with those in 32 bits where the Trainer uses fewer."""
    if not isinstance(probe.module, nn.Module):
        raise SkipError
    counts = Counter(str(each.dtype)[6:] for each in probe.module.parameters())
    seen = f"{probe.precision}, parameters in {' and '.join(counts) or 'none'}"
    asked = str(probe.options.get("precision") or probe.precision)
    if asked.endswith("-mixed") and asked != probe.precision:
        seen += f" (the Trainer made {probe.precision} of {asked} on this device)"
    if {"float16", "bfloat16"} & set(counts):
        yield Check(
            NAME,
            "WARN",
            f"{seen}: gradients are rounded to that as well, and small ones are lost.",
            "Keep parameters in float32 and use precision='bf16-mixed' or '16-mixed'.",
        )
    elif not probe.precision.endswith("-mixed"):
        yield Check(NAME, "PASS", f"{seen}.")
    else:
        yield _compared(probe, seen)


def _compared(probe: Probe, seen: str) -> Check:
    low = probe.grads
    with torch.autocast(probe.device.type, enabled=False):
        full = probe.differentiate()
    lost, flipped = _differences(low, full)
    text = (
        f"{seen}; {100 * lost:.2g} % of the gradient entries underflow to 0 and "
        f"{100 * flipped:.2g} % change their sign against 32 bits"
    )
    if lost > LOST or flipped > FLIPPED:
        return Check(
            NAME,
            "WARN",
            f"{text}.",
            "Use precision='bf16-mixed', or '32-true'; reduce the loss with a sum "
            "or scale it up if entries underflow.",
        )
    return Check(NAME, "PASS", f"{text}.")


def _differences(
    low: Sequence[Tensor | None], full: Sequence[Tensor | None]
) -> tuple[float, float]:
    """Return the shares of entries that are lost, and of those that change sign."""
    lost, flipped = [], []
    for a, b in zip(low, full, strict=True):
        if a is not None and b is not None:
            lost.append(((a == 0) & (b != 0)).float().mean())
            flipped.append((a.sign() * b.sign() < 0).float().mean())
    return float(torch.stack(lost).mean()), float(torch.stack(flipped).mean())
