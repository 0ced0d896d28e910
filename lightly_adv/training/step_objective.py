"""A training step, seen as a function of its views."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from lightly_adv.batch_norm import routes
from lightly_adv.isolation import modes
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.isolation.recomputation import recomputed_in
from lightly_adv.training.places import Path, Stack
from lightly_adv.training.views import Step
from lightly_adv.types import Objective


class Selection(Protocol):
    """The views of a training step, and how it is run on others."""

    @property
    def views(self) -> list[Tensor]:
        """The selected views."""

    @property
    def images(self) -> list[Tensor]:
        """All views, selected or not."""

    def evaluated(self, step: Step, views: Sequence[Tensor]) -> Any:
        """Run the step on other views, where it may write into what it is given."""

    def trained(self, step: Step, views: Sequence[Tensor]) -> Any:
        """Run the step on other views."""

    def stacks(self) -> dict[int, Stack]:
        """Return the views that are stacks of views, by their number."""

    def without(self, parts: Mapping[Path, set[int]], /) -> Selection:
        """Return the same without some of the views of stacks."""


class StepSkippedError(Exception):
    """The training step returned None: it asks to skip the batch."""


@dataclass(frozen=True)
class StepObjective:
    """The loss of a training step as a function of the selected views.

    Every evaluation is isolated: nothing that the step does to its module stays. Where
    BatchNorm layers have routes, they take the adversarial one.

    Args:
        step: From the batch to what the training step returns.
        module: The module that the step works on.
        isolation: Isolates that module.
        selected: The views, and how to run the step on others.
        bn_mode: Train/eval flags while evaluating, see `set_attack_mode`.
        seeds: One new seed per evaluation, or None to replay in each the
            random numbers that the real step will draw.
    """

    step: Step
    module: nn.Module
    isolation: Isolation
    selected: Selection
    bn_mode: BatchNormMode
    seeds: Callable[[], int] | None = None

    def __call__(self, views: Sequence[Tensor]) -> Tensor:
        """Return the loss at `views`, differentiable with respect to them.

        Raises:
            StepSkippedError: If the step returns None.
            TypeError: If it returns no loss.
        """
        with self.scope() as loss:
            return loss(views)

    @contextmanager
    def scope(self) -> Iterator[Objective]:
        """Isolate one evaluation until its gradient is taken; see `ScopedObjective`."""
        seed = self.seeds() if self.seeds is not None else None
        with (
            self.isolation.evaluation(seed=seed),
            routes.bn_route(routes.ADV),
            recomputed_in(functools.partial(routes.same_route, routes.ADV)),
        ):
            modes.set_attack_mode(self.module, self.bn_mode)
            yield lambda views: loss_of(self.selected.evaluated(self.step, views))


def loss_of(output: Any) -> Tensor:
    """Return the loss in what a training step returned.

    Raises:
        StepSkippedError: If the output is None.
        TypeError: If there is no loss in it.
    """
    if output is None:
        raise StepSkippedError
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"training_step returned a {type(output).__name__} without a loss; "
            "expected a tensor, or a dict with the tensor under 'loss'."
        )
    return loss


def with_loss(output: Any, loss: Tensor) -> Any:
    """Return the output of a training step with another loss in it."""
    return {**output, "loss": loss} if isinstance(output, Mapping) else loss
