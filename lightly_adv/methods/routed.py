"""Backbones with several BatchNorm routes, for methods that need them."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightly_adv.batch_norm import convert_dual_batchnorm
from lightly_adv.batch_norm.routes import ADV, CLEAN


def with_routes(network: nn.Module, *further: str) -> nn.Module:
    """Give the BatchNorm layers of a network the routes "clean" and "adv".

    Args:
        network: A network, which is converted in place.
        *further: Names of further routes.

    Raises:
        ValueError: If it has no BatchNorm layer, or has routes already.

    Examples:
        >>> list(with_routes(nn.Sequential(nn.BatchNorm1d(2)))[0].routes)
        ['clean', 'adv']
    """
    if not any(isinstance(part, _BatchNorm) for part in network.modules()):
        raise ValueError(
            f"{type(network).__name__} has no BatchNorm layer, and this method keeps "
            "the statistics of clean and of attacked images apart; use a backbone with "
            "BatchNorm, such as a ResNet, or a method without routes: DeACL or RoCL."
        )
    return convert_dual_batchnorm(network, routes=(CLEAN, ADV, *further))
