"""Attacks in training, where no process may end one early."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightly_adv import processes
from lightly_adv.attacks import gradients
from lightly_adv.errors import NotFiniteError
from lightly_adv.functional import deferred, pixels, value_range
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import Objective

AttackFunction: TypeAlias = Callable[[Objective, Sequence[Tensor]], list[Tensor]]
"""From an objective and views to perturbed views."""


def attack_to_the_end(
    attack: AttackFunction,
    objective: Objective,
    views: Sequence[Tensor],
    *,
    threat_model: ThreatModel,
) -> list[Tensor]:
    """Perturb views; what is wrong with them is told of when the attack is over.

    Processes that train together evaluate as often as each other, also where the batch
    of one of them cannot be attacked: where losses gather over processes, one that
    broke off would let the others wait forever.

    Args:
        attack: Perturbs views of an objective.
        objective: Maps views to a loss, which has to be finite.
        views: Tensors of shape (B, ..., C, H, W).
        threat_model: That of the attack.

    Raises:
        UnfitBatchError: If this batch cannot be attacked.
    """
    with deferred.checks() as pending:
        if processes.count() > 1:
            views = _shown_to_others(threat_model, views, pending)
        return attack(_Watched(objective, pending), views)


@dataclass(frozen=True)
class _Watched:
    """An objective that has to be finite, which is checked later."""

    objective: Objective
    pending: deferred.Checks

    def __call__(self, views: Sequence[Tensor]) -> Tensor:
        with self.scope() as function:
            return function(views)

    @contextmanager
    def scope(self) -> Iterator[Objective]:
        """Evaluate in the scope of the objective; see `ScopedObjective`."""
        with gradients.scope(self.objective) as function:
            yield lambda views: self._noted(function(views))

    def _noted(self, loss: Any) -> Any:
        if isinstance(loss, Tensor) and loss.numel():
            self.pending.add(gradients.largest(loss), _refuse_infinite)
        return loss


def _shown_to_others(
    threat_model: ThreatModel, views: Sequence[Tensor], pending: deferred.Checks
) -> list[Tensor]:
    """Put pixels in range in the place of what is refused.

    A loss that gathers would take NaN to the other processes.
    """
    values = threat_model.measure(views)
    pending.add(values, threat_model.judge)
    refused = value_range.refused(values, threat_model.bounds)
    return [torch.where(refused, _inside(threat_model, each), each) for each in views]


def _inside(threat_model: ThreatModel, view: Tensor) -> Tensor:
    """Return the view with its pixels in range, to stand in for it."""
    position = pixels.to_pixels(view.detach().float(), threat_model.normalize)
    low, high = threat_model.bounds
    inside = position.nan_to_num(low).clamp(low, high)
    return pixels.to_normalized(inside, threat_model.normalize).to(view.dtype)


def _refuse_infinite(values: Sequence[float]) -> None:
    if not math.isfinite(values[0]):
        raise NotFiniteError(gradients.INFINITE_OBJECTIVE)
