"""Attacking a loss of our own, where no step has to be isolated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Generator, Tensor, nn

from lightly_adv.attacks import Attack, AttackSchedule
from lightly_adv.isolation import modes, routes


def perturb(
    attack: Attack,
    objective: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    module: nn.Module,
    generator: Generator,
) -> Tensor:
    """Perturb one tensor, with the module in eval mode and its parameters frozen.

    Train/eval flags and `requires_grad` come back as they were, and running
    statistics do not move. Where BatchNorm layers have routes, they take the
    adversarial one.

    Args:
        attack: The attack to run.
        objective: Maps inputs to a scalar or to shape (B,), through `module`.
        inputs: Tensor of shape (B, ..., C, H, W), as the threat model expects it.
        module: The network under attack.
        generator: Source of the noise.

    Returns:
        A tensor like `inputs`, detached.

    Examples:
        >>> import torch
        >>> from lightly_adv import PGD, ThreatModel
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
        >>> attack = PGD(ThreatModel(eps=0.1), steps=2)
        >>> inputs = torch.rand(4, 3, 2, 2)
        >>> found = perturb(
        ...     attack, lambda x: module(x).sum(), inputs,
        ...     module=module, generator=torch.Generator(),
        ... )
        >>> bool((found - inputs).abs().max() <= 0.1 + 1e-6)
        True
    """
    with (
        modes.evaluation_mode(module),
        modes.frozen_parameters(module),
        routes.bn_route(routes.ADV),
    ):
        (perturbed,) = attack(
            lambda views: objective(views[0]), [inputs], generator=generator
        )
    return perturbed


def check_attack(attack: Any) -> None:
    """Refuse what is neither an attack, nor a schedule, nor None.

    Raises:
        TypeError: If it is something else.
    """
    if attack is not None and not isinstance(attack, Attack | AttackSchedule):
        raise TypeError(
            f"attack is a {type(attack).__name__}; expected an attack such as "
            "PGD(ThreatModel(eps=8 / 255), steps=5), an AttackSchedule, or None."
        )
