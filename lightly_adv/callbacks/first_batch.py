"""Does the attack leave the module alone, and is the loss one of the views?"""

from __future__ import annotations

import torch

from lightly_adv.isolation import leaks
from lightly_adv.lightning import pl, rank_zero_warn
from lightly_adv.training.step_objective import StepObjective

RTOL = 1e-5
"""How far two evaluations of one loss may lie apart: some GPU kernels add in any order.
"""


def verify(
    module: pl.LightningModule, objective: StepObjective, *, constant: bool
) -> None:
    """Evaluate twice, warn of what leaked and of a loss that changes by itself."""
    before = leaks.snapshot(module)
    # Nothing requires a gradient here; a step that takes one of its own still may.
    first, second = (objective(objective.selected.views).detach() for _ in range(2))
    leaked = before.changes(leaks.snapshot(module))
    if leaked:
        rank_zero_warn(
            "the attack changes state of the module that cannot be set aside: "
            f"{', '.join(leaked[:10])}. It lives where the isolation cannot reach it, "
            "such as in a generator, a data loader, a global or a file; make it an "
            "attribute of the module: a number, a list, a buffer. Training goes on, "
            "but this state advances with every attack step."
        )
    # At least some steps of what a loss in half precision can tell apart.
    rtol = max(RTOL, 4 * torch.finfo(first.dtype).eps)
    if constant and not torch.allclose(first, second, rtol=rtol, equal_nan=True):
        rank_zero_warn(
            f"the loss of the same batch was {first.mean():.6g} and then "
            f"{second.mean():.6g}: it depends on something besides the views, the "
            "state of the module and the random streams of torch, random and numpy. "
            "The attack raises a loss that moves."
        )
