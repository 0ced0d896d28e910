"""Results of arms that were never trained."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from lightly_adv.cli.demo.arms import ARMS, SCRATCH, EpochCounter, Settings


def run_arm(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Return results; only scratch reaches its own best accuracy."""
    accuracies = {"clean_accuracy": 75.0 + seed, "robust_accuracy": 20.0}
    facts = {"suite": "pgd-20", "norm": "Linf", "eps": 32 / 255, "eps_text": "32/255"}
    row = {"name": ARMS[arm], "warnings": ["few images"], **facts, **accuracies}
    history = [10.0, 30.0 if arm == SCRATCH else 20.0]
    example = {
        "label": "3",
        "attack": "pgd",
        "factor": 4,
        "difference": "",
        "clean": "",
    }
    predictions = {"clean_prediction": "3", "attacked_prediction": "8", "attacked": ""}
    return {
        "row": {**row, "val_robust_accuracy": history, "seconds": 3.0},
        "curve": [row],
        "examples": [{**example, **predictions}],
    }


def run_counted(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Count one epoch in the number that the processes share."""
    EpochCounter().on_train_epoch_end(None, None)  # type: ignore[arg-type]
    assert EpochCounter.shared.value > 0
    return run_arm(arm, seed, settings)


def fail_or_sleep(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Fail in one arm while the others take very long."""
    if arm == SCRATCH:
        raise ValueError("no digits here")
    time.sleep(1000)
    return {}


def interrupt(arm: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Send Ctrl-C to the first process from one arm, while all ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if arm == SCRATCH:
        os.kill(os.getppid(), signal.SIGINT)
    time.sleep(1000)
    return {}
