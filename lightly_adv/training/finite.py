"""Attacks that go on where something is not finite, and tell in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightly_adv.attacks import gradients
from lightly_adv.errors import NotFiniteError, UnfitBatchError
from lightly_adv.functional import pixels, precision
from lightly_adv.threat_model import ThreatModel
from lightly_adv.training import processes
from lightly_adv.types import Objective

AttackFunction: TypeAlias = Callable[[Objective, Sequence[Tensor]], list[Tensor]]
"""From an objective and views to perturbed views."""


class FiniteObjective:
    """Put zeros in place of a loss or gradient that is not finite, and remember it.

    An attack on it evaluates as often as any other: where losses gather over processes,
    one that broke off would let the others wait forever.

    Args:
        objective: Maps views to a loss.

    Examples:
        >>> objective = FiniteObjective(lambda views: views[0].sum().log())
        >>> objective([torch.zeros(1)])
        tensor(0.)
        >>> objective.check()
        Traceback (most recent call last):
        lightly_adv.errors.NotFiniteError: the objective is NaN or inf. Look ...
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._losses: Tensor | None = None
        self._gradients: Tensor | None = None

    def __call__(self, views: Sequence[Tensor]) -> Tensor:
        """Return the loss at views; it is finite."""
        with self.scope() as function:
            return function(views)

    @contextmanager
    def scope(self) -> Iterator[Objective]:
        """Evaluate in the scope of the objective; see `ScopedObjective`."""
        with gradients.scope(self._objective) as function:
            yield lambda views: self._loss(
                function([self._watched(view) for view in views])
            )

    def check(self) -> None:
        """Tell what was not finite since the last time; waits for the device once.

        Raises:
            NotFiniteError: If a loss or gradient was not.
        """
        losses, found = self._losses, self._gradients
        self._losses = self._gradients = None
        if losses is not None and bool(losses):
            raise NotFiniteError(gradients.NAN_OBJECTIVE.replace("NaN", "NaN or inf"))
        if found is not None and bool(found):
            raise NotFiniteError(gradients.NAN_GRADIENT)

    def _loss(self, loss: Any) -> Tensor:
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"the objective returned a {type(loss).__name__}; expected a tensor."
            )
        finite = loss.detach().isfinite()
        self._losses = _either(self._losses, ~finite.all())
        return torch.where(finite, loss, torch.zeros_like(loss))

    def _watched(self, view: Tensor) -> Tensor:
        if not view.requires_grad:
            return view
        alias = view.view_as(view)
        # In fp16 single entries overflow; the attack does without them.
        if not precision.is_fp16(view):
            alias.register_hook(self._gradient)  # type: ignore[no-untyped-call]
        return alias

    def _gradient(self, grad: Tensor) -> Tensor:
        missing = grad.detach().isnan()
        self._gradients = _either(self._gradients, missing.any())
        return grad.masked_fill(missing, 0)


def attack_to_the_end(
    attack: AttackFunction,
    objective: Objective,
    views: Sequence[Tensor],
    *,
    threat_model: ThreatModel,
) -> list[Tensor]:
    """Perturb views; what is not finite is told of when the attack is over.

    Processes that train together evaluate as often as each other, also where the batch
    of one of them cannot be attacked.

    Args:
        attack: Perturbs views of an objective.
        objective: Maps views to a loss.
        views: Tensors of shape (B, ..., C, H, W).
        threat_model: That of the attack.

    Raises:
        UnfitBatchError: If this batch cannot be attacked.
    """
    finite = FiniteObjective(objective)
    if processes.count() > 1:
        try:
            threat_model.overshoot(views)
        except UnfitBatchError:
            attack(finite, [_inside(threat_model, view) for view in views])
            raise
    perturbed = attack(finite, views)
    finite.check()
    return perturbed


def _inside(threat_model: ThreatModel, view: Tensor) -> Tensor:
    """Return the view with its pixels in range, to stand in for it."""
    position = pixels.to_pixels(view.detach().float(), threat_model.normalize)
    low, high = threat_model.bounds
    inside = position.nan_to_num(low).clamp(low, high)
    return pixels.to_normalized(inside, threat_model.normalize).to(view.dtype)


def _either(before: Tensor | None, now: Tensor) -> Tensor:
    return now if before is None else before | now.to(before.device)
