"""Does the attack raise the loss?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check, SkipError

NAME = "loss"

_SEEN = {
    "eval": "The attack sees BatchNorm layers with running statistics, training with "
    "those of the batch: pass bn_mode='batch'. It also sees the module without dropout",
    "batch": "The attack sees the module without dropout, training with it",
    "train": "Something besides the views differs between attack and training",
}


def loss(probe: Probe) -> Iterator[Check]:
    """Compare the loss before and after the attack, as attacked and as trained on."""
    flat = all(grad is None or not grad.any() for grad in probe.grads)
    if flat or probe.threat_model.eps == 0:
        raise SkipError
    attacked = probe.attacked
    clean, raised = _mean(probe.twice.losses[0]), _mean(probe.attacked_loss)
    seen = f"{clean:.4g} before the attack and {raised:.4g} after it"
    if attacked.attack.evaluations < probe.attack.evaluations:
        seen += f" (examined with {attacked.attack.steps} steps only)"
    if not raised > clean:
        yield _not_raised(probe, clean, f"{seen}: it does not rise")
        return
    trained = probe.trained_loss
    seen += f"; as trained on: {probe.run.loss:.4g} and {trained:.4g}"
    if math.isfinite(trained) and trained <= probe.run.loss:
        yield Check(
            NAME,
            "WARN",
            f"{seen}, where it does not rise.",
            f"{_SEEN[probe.training.bn_mode]}, and here that matters.",
        )
    else:
        yield Check(NAME, "PASS", f"{seen}.")


def _not_raised(probe: Probe, clean: float, seen: str) -> Check:
    """Tell what does not suit the loss from a gradient that leads nowhere."""
    if probe.training.bn_mode == "eval":
        before, after = (_mean(each) for each in probe.batch_losses)
        if after > before:
            return Check(
                NAME,
                "WARN",
                f"{seen}. Under bn_mode='batch' it does, from {before:.4g} to "
                f"{after:.4g}.",
                "Pass bn_mode='batch', at least until the running statistics of the "
                "BatchNorm layers fit the images.",
            )
    if _mean(probe.nudged_loss) > clean:
        return Check(
            NAME,
            "WARN",
            f"{seen}, but it does with one small step along the gradient.",
            "The loss is too rough for this attack: take more and shorter steps.",
        )
    return Check(
        NAME,
        "FAIL",
        f"{seen}, not even with one small step along the gradient.",
        "The gradient is not that of the loss. Look for detach(), straight-through "
        "estimators and custom backward passes on the way from the views.",
    )


def _mean(loss: Tensor) -> float:
    return float(loss.float().mean())
