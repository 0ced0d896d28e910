"""Isolation in which a module can still be trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lightly_adv.isolation.isolated import isolated


@contextmanager
def isolated_training(module: nn.Module) -> Iterator[None]:
    """Isolate a module; inside, its parameters require gradients as they did outside.

    They are stand-ins of their own, so that optimisers take them and gradients of
    several passes are right, but no gradient arrives at the original ones.

    Examples:
        >>> layer = nn.Linear(2, 1)
        >>> with isolated_training(layer):
        ...     nn.init.zeros_(layer.weight).sum().backward()
        >>> layer.weight.grad, bool((layer.weight == 0).all())
        (None, False)
    """
    required = {
        name: each.requires_grad
        for name, each in module.named_parameters(remove_duplicate=False)
    }
    with isolated(module):
        for name, each in module.named_parameters(remove_duplicate=False):
            each.requires_grad = required[name]
        yield
