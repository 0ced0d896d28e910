"""What is trained on: the perturbed views alone, or clean and perturbed ones."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from lightly_adv.batch_norm import routes
from lightly_adv.isolation.isolated import Isolation
from lightly_adv.isolation.recomputation import (
    recomputed_as_it_stands,
    recomputed_in,
)
from lightly_adv.training.step_objective import Selection, loss_of, with_loss
from lightly_adv.training.views import Step


def replaced(
    step: Step, module: nn.Module, *, selected: Selection, views: Sequence[Tensor]
) -> Any:
    """Run the training step on the perturbed views, on the adversarial route.

    Returns:
        What the step returns.
    """
    with _on_route(module, routes.ADV):
        return selected.trained(step, views)


def dual(
    step: Step,
    module: nn.Module,
    *,
    batch: Any,
    selected: Selection,
    views: Sequence[Tensor],
    weight: float,
    isolation: Isolation | None = None,
) -> Any:
    """Run the training step on clean and on perturbed views.

    The loss is `(1 - weight) * clean + weight * adversarial`. The adversarial stream
    is isolated but stays in the graph, so that moving averages, memory banks and logged
    metrics advance once, by the clean stream. Where BatchNorm layers have routes, each
    stream takes its own, and advances the statistics of that one.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862 (weight 0.5)

    Returns:
        What the step returns on the clean batch, with the loss of both; without the
        adversarial loss if the step returned None for it, to skip it.
    """
    isolation = isolation or Isolation(module)
    statistics = routes.buffers_of(module, routes.ADV)
    again = functools.partial(routes.same_route, routes.ADV)
    with (
        isolation.evaluation(differentiable=True, keep=statistics),
        routes.bn_route(routes.ADV),
        # Its backward pass runs when the isolation is over.
        recomputed_as_it_stands(module, again),
    ):
        perturbed = selected.evaluated(step, views)
    with _on_route(module, routes.CLEAN):
        output = step(batch)
    if output is None or perturbed is None:
        return output
    clean, adversarial = loss_of(output), loss_of(perturbed)
    return with_loss(output, (1 - weight) * clean + weight * adversarial)


@contextmanager
def _on_route(module: nn.Module, route: str) -> Iterator[None]:
    again = functools.partial(routes.same_route, route)
    # Where there are no routes, checkpoints stay what they are without us.
    routed = routes.routed_layers(module)
    with routes.bn_route(route), recomputed_in(again) if routed else nullcontext():
        yield
