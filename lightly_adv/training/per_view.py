"""One attack for each view, in place of one for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Generator, Tensor

from lightly_adv.attacks import Attack, gradients, notices
from lightly_adv.errors import UnreachedError
from lightly_adv.types import Objective


def attack_per_view(
    attack: Attack,
    objective: Objective,
    views: Sequence[Tensor],
    *,
    generator: Generator | None,
) -> list[Tensor]:
    """Perturb every view as if the others stayed clean.

    A joint attack moves all views at once, each against partners that move as well;
    here each meets clean partners. It takes as many evaluations per view as a joint
    attack takes in all.

    Args:
        attack: The attack to run on each view.
        objective: Maps all views to a scalar or to shape (B,).
        views: Tensors of shape (B, ..., C, H, W).
        generator: Source of the noise.

    Returns:
        Perturbed views; those that receive no gradient come back as they are, with a
        warning.

    Raises:
        ValueError: If no view receives a gradient; what the attack raises.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> attack = PGD(ThreatModel(eps=0.1), steps=2)
        >>> views = [torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2)]
        >>> def distance(views):
        ...     return (views[0] - views[1]).square().sum()
        >>> found = attack_per_view(
        ...     attack, distance, views, generator=torch.Generator()
        ... )
        >>> bool(distance([found[0], views[1]]) > distance(views))
        True
    """
    found: list[Tensor] = []
    unreached: list[int] = []
    for at, view in enumerate(views):
        try:
            found += attack(_Alone(objective, views, at), [view], generator=generator)
        except UnreachedError:
            if len(unreached) == len(views) - 1:
                raise
            unreached.append(at)
            found.append(view)
    if unreached:
        notices.say_unused(unreached)
    return found


@dataclass(frozen=True)
class _Alone:
    """The objective as a function of one view, the others clean."""

    objective: Objective
    views: Sequence[Tensor]
    at: int

    def __call__(self, given: Sequence[Tensor]) -> Tensor:
        with self.scope() as function:
            return function(given)

    @contextmanager
    def scope(self) -> Iterator[Objective]:
        before, after = self.views[: self.at], self.views[self.at + 1 :]
        with gradients.scope(self.objective) as function:
            yield lambda given: function([*before, *given, *after])
