"""How much of training is done, where Lightning can tell."""

from __future__ import annotations

import math
from typing import Any


def share_done(trainer: Any) -> float:
    """Return the share of training that is done, in [0, 1].

    Args:
        trainer: A Trainer that is fitting.

    Raises:
        ValueError: If it is not known how long training lasts: without an end, or with
            a data set without a length and no `max_steps`.
    """
    total = trainer.estimated_stepping_batches
    # Lightning says -1 where data without a length meet max_epochs.
    if not math.isfinite(total) or total < 0:
        raise ValueError(
            f"the length of training is not known ({total} steps), as with an "
            "IterableDataset or max_epochs=-1, and an AttackSchedule follows its "
            "progress; give the Trainer max_steps."
        )
    return min(1.0, float(trainer.global_step / max(1, total)))
