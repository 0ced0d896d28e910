"""Checks of what the attack follows and reaches: gradient, loss, number format."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lightly_adv.attacks import Attack
from lightly_adv.batch_norm import routes
from lightly_adv.doctor.checks.named import Result, named, views
from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import SkipError
from lightly_adv.isolation.isolated import isolated
from lightly_adv.training.step_objective import loss_of

MASKED = 0.8
"""Share of zeros from which on a gradient looks masked."""

DEAD = 0.1
"""Share of images that may receive no gradient at all."""

LOST = 0.05
"""Share of gradient entries that may underflow to zero."""

FLIPPED = 0.2
"""Share of gradient entries that may change their sign."""

_DIFFERENCE = {
    "eval": "The attack sees BatchNorm layers with running statistics, training with "
    "those of the batch: pass bn_mode='batch'. It also sees the module without dropout",
    "batch": "The attack sees the module without dropout, training with it",
    "train": "Something besides the views differs between attack and training",
}
"""How the module under attack differs from the one in training."""


@named
def gradient(probe: Probe) -> Iterator[Result]:
    """Differentiate the loss with respect to every attacked view."""
    numbers = probe.attacked_numbers
    pairs = zip(numbers, probe.grads, strict=True)
    reached = {at: grad == 0 for at, grad in pairs if grad is not None}
    zeros = max(float(zero.float().mean()) for zero in reached.values())
    dead = max(
        float(zero.flatten(1).all(dim=1).float().mean()) for zero in reached.values()
    )
    seen = f"it reaches {views(list(reached))}; {100 * zeros:.0f} % of it are zeros"
    if dead:
        seen += f", and {100 * dead:.0f} % of the images receive none"
    others = [at for at in numbers if at not in reached]
    if others:
        stay = "stays" if len(others) == 1 else "stay"
        seen += f"; it does not reach {views(others)}, which {stay} clean"
    if zeros == 1:
        yield (
            "FAIL",
            f"{seen}.",
            "The loss is flat at these images. Look for argmax, rounding or "
            "saturated activations on the way to the loss.",
        )
    elif zeros > MASKED or dead > DEAD:
        yield (
            "WARN",
            f"{seen}.",
            "Fine where the step masks or leaves out that much; otherwise gradients "
            "are lost in saturated or dead activations.",
        )
    else:
        yield "PASS", f"{seen}."


@named
def loss(probe: Probe) -> Iterator[Result]:
    """Compare the loss before and after the attack, as attacked and as trained on."""
    flat = all(grad is None or not grad.any() for grad in probe.grads)
    if flat or probe.threat_model.eps == 0:
        raise SkipError
    attacked = probe.attacked
    clean, raised = _mean(probe.twice.losses[0]), _mean(probe.objective(attacked.views))
    seen = f"{clean:.4g} before the attack and {raised:.4g} after it"
    if attacked.attack.evaluations < probe.attack.evaluations:
        seen += f" (examined with {attacked.attack.steps} steps only)"
    if not raised > clean:
        yield _not_raised(probe, clean, f"{seen}: it does not rise")
        return
    trained = _trained_loss(probe)
    seen += f"; as trained on: {probe.run.loss:.4g} and {trained:.4g}"
    if math.isfinite(trained) and trained <= probe.run.loss:
        remedy = f"{_DIFFERENCE[probe.training.bn_mode]}, and here that matters."
        yield "WARN", f"{seen}, where it does not rise.", remedy
    else:
        yield "PASS", f"{seen}."


def _not_raised(probe: Probe, clean: float, seen: str) -> Result:
    """Distinguish an attack that does not suit the loss from a wrong gradient."""
    if probe.training.bn_mode == "eval":
        objective = dataclasses.replace(probe.objective, bn_mode="batch")
        perturbed = probe.run_attack(probe.attacked.attack, objective)
        before = _mean(objective(probe.selected.views))
        after = _mean(objective(perturbed))
        if after > before:
            return (
                "WARN",
                f"{seen}. Under bn_mode='batch' it does, from {before:.4g} to "
                f"{after:.4g}.",
                "Pass bn_mode='batch', at least until the running statistics of the "
                "BatchNorm layers fit the images.",
            )
    if _nudged_loss(probe) > clean:
        return (
            "WARN",
            f"{seen}, but it does with one small step along the gradient.",
            "The loss is too rough for this attack: take more and shorter steps.",
        )
    return (
        "FAIL",
        f"{seen}, not even with one small step along the gradient.",
        "The gradient is not that of the loss. Look for detach(), straight-through "
        "estimators and custom backward passes on the way from the views.",
    )


def _nudged_loss(probe: Probe) -> float:
    """Return the loss after one step of eps / 10 along the gradient."""
    length = probe.threat_model.eps / 10
    threat_model = dataclasses.replace(probe.threat_model, eps=length)
    nudge = Attack(threat_model, steps=1, step_size=length, random_start=False)
    return _mean(probe.objective(probe.run_attack(nudge, probe.objective)))


def _trained_loss(probe: Probe) -> float:
    """Return the loss on the perturbed views as it is trained on: in train mode."""
    step, perturbed = probe.training_step, probe.attacked.views
    with isolated(probe.module), routes.bn_route(routes.ADV):
        return float(loss_of(probe.selected.evaluated(step, perturbed)).detach())


@named
def precision(probe: Probe) -> Iterator[Result]:
    """Compare gradients with those in 32 bits where the Trainer uses fewer."""
    if not isinstance(probe.module, nn.Module):
        raise SkipError
    counts = Counter(str(each.dtype)[6:] for each in probe.module.parameters())
    seen = f"{probe.precision}, parameters in {' and '.join(counts) or 'none'}"
    asked = str(probe.options.get("precision") or probe.precision)
    if asked.endswith("-mixed") and asked != probe.precision:
        seen += f" (the Trainer made {probe.precision} of {asked} on this device)"
    if {"float16", "bfloat16"} & set(counts):
        yield (
            "WARN",
            f"{seen}: gradients are rounded to that as well, and small ones are lost.",
            "Keep parameters in float32 and use precision='bf16-mixed' or '16-mixed'.",
        )
    elif not probe.precision.endswith("-mixed"):
        yield "PASS", f"{seen}."
    else:
        yield _compared(probe, seen)


def _compared(probe: Probe, seen: str) -> Result:
    low = probe.grads
    with torch.autocast(probe.device.type, enabled=False):
        full = probe.differentiate()
    lost, flipped = _differences(low, full)
    text = (
        f"{seen}; {100 * lost:.2g} % of the gradient entries underflow to 0 and "
        f"{100 * flipped:.2g} % change their sign against 32 bits."
    )
    if lost > LOST or flipped > FLIPPED:
        return (
            "WARN",
            text,
            "Use precision='bf16-mixed', or '32-true'; reduce the loss with a sum "
            "or scale it up if entries underflow.",
        )
    return "PASS", text


def _differences(
    low: Sequence[Tensor | None], full: Sequence[Tensor | None]
) -> tuple[float, float]:
    """Return the shares of entries that are lost, and of those that change sign."""
    pairs = [
        (a, b)
        for a, b in zip(low, full, strict=True)
        if a is not None and b is not None
    ]
    lost = [((a == 0) & (b != 0)).float().mean() for a, b in pairs]
    flipped = [(a.sign() * b.sign() < 0).float().mean() for a, b in pairs]
    return float(torch.stack(lost).mean()), float(torch.stack(flipped).mean())


def _mean(loss: Tensor) -> float:
    return float(loss.detach().float().mean())
