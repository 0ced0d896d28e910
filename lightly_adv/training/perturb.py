"""Attacking a loss of our own, where no step has to be isolated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack
from lightly_adv.batch_norm import routes
from lightly_adv.isolation import modes
from lightly_adv.isolation.modes import BatchNormMode
from lightly_adv.isolation.recomputation import recomputed_in
from lightly_adv.training.finite import attack_to_the_end
from lightly_adv.types import Objective, Views


def perturb_views(
    attack: Attack,
    objective: Objective,
    views: Views,
    *,
    module: nn.Module,
    generator: Generator,
    route: str = routes.ADV,
    bn_mode: BatchNormMode = "batch",
) -> list[Tensor]:
    """Perturb views, without noise of dropout and with parameters frozen.

    BatchNorm layers normalise as they are: in train mode with the statistics of the
    batch, in eval mode with their running ones, which do not move. Train/eval flags and
    `requires_grad` come back as they were.

    Args:
        attack: The attack to run.
        objective: Maps views to a scalar or to shape (B,), through `module`.
        views: Tensors of shape (B, ..., C, H, W), as the threat model expects them.
        module: The network under attack.
        generator: Source of the noise.
        route: What layers with several BatchNorm routes take.
        bn_mode: How the attack sees BatchNorm layers, see `AdversarialTraining`.

    Returns:
        Tensors like `views`, detached.

    Raises:
        UnfitBatchError: If these views cannot be attacked. The objective has been
            evaluated as often as otherwise, see `attack_to_the_end`.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
        >>> attack = PGD(ThreatModel(eps=0.1), steps=2)
        >>> inputs = torch.rand(4, 3, 2, 2)
        >>> (perturbed,) = perturb_views(
        ...     attack, lambda views: module(views[0]).sum(), [inputs],
        ...     module=module, generator=torch.Generator(),
        ... )
        >>> bool((perturbed - inputs).abs().max() <= 0.1 + 1e-6)
        True
    """
    with _attacked(module, bn_mode, route):
        return attack_to_the_end(
            lambda function, given: attack(function, given, generator=generator),
            objective,
            views,
            threat_model=attack.threat_model,
        )


@dataclass(frozen=True)
class Perturbation:
    """A call of `perturb_views` that is not made yet.

    Args:
        attack: See `perturb_views`.
        loss: Maps views, each an argument, to a scalar or to shape (B,).
        views: See `perturb_views`.
        module: See `perturb_views`.
        generator: See `perturb_views`.
        route: See `perturb_views`.
        bn_mode: See `perturb_views`.
    """

    attack: Attack
    loss: Callable[..., Tensor]
    views: Views
    module: nn.Module
    generator: Generator
    route: str = routes.ADV
    bn_mode: BatchNormMode = "batch"

    def eager(self) -> list[Tensor]:
        """Make the call."""
        return perturb_views(
            self.attack,
            lambda views: self.loss(*views),
            self.views,
            module=self.module,
            generator=self.generator,
            route=self.route,
            bn_mode=self.bn_mode,
        )

    def loss_at(self, views: Views) -> Tensor:
        """Return the loss at other views, summed up, as the attack sees it."""
        with torch.no_grad(), _attacked(self.module, self.bn_mode, self.route):
            total = self.loss(*views).sum()
        return total if total.dtype == torch.float64 else total.float()


@contextmanager
def _attacked(module: nn.Module, bn_mode: BatchNormMode, route: str) -> Iterator[None]:
    with (
        modes.attack_mode(module, bn_mode),
        modes.frozen_parameters(module),
        routes.bn_route(route),
        recomputed_in(functools.partial(routes.same_route, route)),
    ):
        yield
