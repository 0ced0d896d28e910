"""Assert that what a module does under attack does not reach the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lightly_adv.isolation import leaks
from lightly_adv.isolation.isolated import isolated


def assert_no_side_effects(
    module: nn.Module, run: Callable[[], Any], *, evaluations: int = 2
) -> None:
    """Assert that `isolated` hides everything that a call does to a module.

    Args:
        module: The module that `run` works on.
        run: Evaluates the module, for instance its training step.
        evaluations: How often to run it.

    Raises:
        AssertionError: If anything changed, with its name: such state lives where
            `isolated` cannot reach it.

    Examples:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> assert_no_side_effects(norm, lambda: norm(torch.rand(4, 2)))
    """
    before = leaks.snapshot(module)
    for _ in range(evaluations):
        with isolated(module):
            run()
    changes = before.changes(leaks.snapshot(module))
    assert not changes, (
        f"isolated evaluations of {type(module).__name__} changed: {', '.join(changes)}"
    )
