"""What a step of `RobustDistillation` costs, from a few that are timed."""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lightly_adv.isolation import rng
from lightly_adv.methods import RobustDistillation

STEPS = 3
"""How many steps are timed, after one that is not."""


@dataclass(frozen=True)
class StepCost:
    """Seconds and memory of one step.

    Args:
        seconds: The median.
        gigabytes: The most memory that was in use: of the device, or on a CPU of the
            whole process.
    """

    seconds: float
    gigabytes: float


def measure(
    module: RobustDistillation, images: Tensor, *, device: torch.device
) -> StepCost:
    """Time some steps of a copy; module and random states stay as they are.

    Args:
        module: What is to be trained.
        images: A batch (B, 3, H, W) in [0, 1].
        device: Where to compute.
    """
    with rng.forked():
        twin, images = copy.deepcopy(module).to(device), images.to(device)
        optimizer = twin.optimizer.configure(twin, total_steps=STEPS + 1)["optimizer"]
        taken = []
        for _ in range(STEPS + 1):
            began = time.perf_counter()
            optimizer.zero_grad()
            torch.autograd.backward(twin.losses(images, measure=False)["train_loss"])
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - began)
    return StepCost(sorted(taken[1:])[STEPS // 2], _peak(device) / 2**30)


def _peak(device: torch.device) -> float:
    """Return the most bytes that were in use."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return float("nan")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
