"""Gradient checkpointing of what has run in a scope that is left by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from torch import nn
from torch.utils import checkpoint

Scope: TypeAlias = Callable[[], AbstractContextManager[object]]
Contents: TypeAlias = tuple[dict[str, Any], dict[str, Any]]


@contextmanager
def recomputed_in(scope: Scope) -> Iterator[None]:
    """Let what is checkpointed inside of the block be recomputed inside of a scope.

    The backward pass calls checkpointed functions once more, when whatever held
    around the forward pass may be over. Reentrant checkpoints, which do not let
    `torch.autograd.grad` pass, work as the others do inside of the block.

    Args:
        scope: Makes a context in which a function runs again.

    Examples:
        >>> import torch
        >>> from contextlib import nullcontext
        >>> x = torch.ones(2, requires_grad=True)
        >>> with recomputed_in(nullcontext):
        ...     y = checkpoint.checkpoint(torch.sin, x, use_reentrant=True)
        >>> bool(torch.equal(torch.autograd.grad(y.sum(), x)[0], x.cos()))
        True
    """
    library: Any = checkpoint
    names = "CheckpointFunction", _recomputing()
    reentrant, generator = (getattr(library, name) for name in names)

    def remembered(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def again(*inputs: Any, **options: Any) -> Any:
            with scope():
                return function(*inputs, **options)

        return generator(again, *args, **kwargs)

    library.CheckpointFunction = _NotReentrant
    setattr(library, names[1], remembered)
    try:
        yield
    finally:
        library.CheckpointFunction = reentrant
        setattr(library, names[1], generator)


@contextmanager
def recomputed_as_it_stands(module: nn.Module, around: Scope) -> Iterator[None]:
    """Let checkpoints of the block find the module as it is at the end of the block.

    For a stream that is isolated and stays in the graph: what is recomputed once the
    isolation is over works on the copies, and moves no statistics of the module.

    Args:
        module: The module, with copies in place.
        around: Makes what else holds when a function runs again.
    """
    inside: list[Contents] = []

    @contextmanager
    def again() -> Iterator[None]:
        outside = _contents(module)
        _put(inside)
        try:
            with around():
                yield
        finally:
            _put(outside)

    with recomputed_in(again):
        yield
        inside += _contents(module)


class _NotReentrant:
    """Stands for the autograd function of reentrant checkpoints."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return checkpoint.checkpoint(
            function, *args, use_reentrant=False, preserve_rng_state=preserve
        )


def _recomputing() -> str:
    """What PyTorch gives a function to that it may have to call again."""
    name = "_checkpoint_without_reentrant_generator"
    later = f"{name}_impl"
    return later if hasattr(checkpoint, later) else name


def _contents(module: nn.Module) -> list[Contents]:
    """Return what all submodules hold, attributes before parameters and buffers."""
    return [
        (place, dict(place))
        for part in module.modules()
        for place in (vars(part), part._parameters, part._buffers)
        # Those of scripted modules are something else.
        if isinstance(place, dict)
    ]


def _put(contents: list[Contents]) -> None:
    for place, values in contents:
        place.clear()
        place.update(values)
