"""Does a run repeat?"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from lightly_adv.doctor.probe import Probe
from lightly_adv.evaluation.checks.check import Check

NAME = "repeatable"

LARGEST_USUAL = 1 << 32
"""Seeds that people choose are smaller; torch's own first seed is larger."""


def repeatable(probe: Probe) -> Iterator[Check]:
    """Compare two evaluations of one loss, and look for a seed."""
    seed = _seed()
    first, second = probe.twice.losses
    if not probe.twice.constant:
        yield Check(
            NAME,
            "WARN",
            f"the loss of the same views was {float(first.mean()):.6g} and then "
            f"{float(second.mean()):.6g}: it depends on something besides views, "
            "module and the random streams of torch, random and numpy.",
            "Draw from one of these streams, or from a torch.Generator that is an "
            "attribute of the module.",
        )
    elif seed is None:
        yield Check(
            NAME,
            "WARN",
            "the loss of the same views is the same, but no seed is set.",
            "Call pl.seed_everything(0) first, so that runs repeat.",
        )
    else:
        text = f"the loss of the same views is the same; the seed is {seed}."
        yield Check(NAME, "PASS", text)


def _seed() -> int | None:
    given = os.environ.get("PL_GLOBAL_SEED")
    if given is not None:
        return int(given)
    seed = torch.initial_seed()
    return seed if seed < LARGEST_USUAL else None
