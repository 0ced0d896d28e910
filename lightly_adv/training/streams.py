"""What is trained on: the perturbed views alone, or clean and perturbed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lightly_adv.isolation.isolated import isolated
from lightly_adv.training.step_objective import Step, loss_of, with_loss
from lightly_adv.training.views import SelectedViews


def replaced(step: Step, selected: SelectedViews, views: Sequence[Tensor]) -> Any:
    """Run the training step on the perturbed views.

    Returns:
        What the step returns.
    """
    return step(selected.replace(views))


def dual(
    step: Step,
    module: nn.Module,
    *,
    batch: Any,
    selected: SelectedViews,
    views: Sequence[Tensor],
    weight: float,
) -> Any:
    """Run the training step on clean and on perturbed views.

    The loss is `(1 - weight) * clean + weight * adversarial`. The adversarial stream
    is isolated but stays in the graph, so that moving averages, memory banks and logged
    metrics advance once, by the clean stream.

    - [0] Adversarial Robustness: From Self-Supervised Pre-Training to Fine-Tuning,
      2020, https://arxiv.org/abs/2003.12862 (weight 0.5)

    Returns:
        What the step returns on the clean batch, with the loss of both.
    """
    with isolated(module, differentiable=True):
        adversarial = loss_of(step(selected.replace(views)))
    output = step(batch)
    clean = loss_of(output)
    return with_loss(output, (1 - weight) * clean + weight * adversarial)
