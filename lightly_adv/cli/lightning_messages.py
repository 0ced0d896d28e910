"""Messages of Lightning that everyone gets and that mean nothing to most."""

from __future__ import annotations

import logging
import warnings

from lightly_adv.lightning import LOGGERS

_HARMLESS = (
    ".*does not have many workers.*",
    r".*module\(s\) in eval mode at the start of training.*",
    ".*is smaller than the logging interval.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",
    ".*`val_dataloader` but have no `validation_step`.*",
)


def hide_harmless() -> None:
    """Let Lightning report warnings and errors only, and no harmless ones."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message)
