"""A model that is asked as often as wanted, and answers every time as at first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lightly_adv.isolation import modes, rng
from lightly_adv.isolation.isolated import Isolation


class Untouched(nn.Module):
    """A model that every call finds in the state that it had before the first one.

    Statistics that adapt in eval mode, observers of quantisation, counters and other
    buffers may move in a call, and its gradient is that of this call; the next one
    begins anew. So a verdict hangs neither on the order of the images nor on the steps
    that an attack took before. Images are given as copies, for models that write into
    their input. Random numbers go on from call to call.

    Args:
        model: The model; it is called inside of `held` only.

    Examples:
        >>> class Adapting(nn.Module):
        ...     calls = 0
        ...     def forward(self, images):
        ...         self.calls += 1
        ...         return images.mul_(self.calls)
        >>> model, images = Adapting(), torch.ones(1)
        >>> untouched = Untouched(model)
        >>> with untouched.held():
        ...     untouched(images), untouched(images)
        (tensor([1.]), tensor([1.]))
        >>> model.calls, images
        (0, tensor([1.]))
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._state: _State | None = None
        self._swap = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the model be called inside; at the end it is what it was."""
        with rng.own_sources(self.model) as sources:
            # They go on, too: who draws is to draw anew in every call.
            self._state = _state_of(self.model, keep=sources)
            try:
                self.renew()
                # Of parts without stand-ins, which need no gradient anyway.
                with modes.frozen_parameters(self.model):
                    yield
            finally:
                self._swap.close()
                self._state = None

    def renew(self) -> None:
        """Let what comes next find the state of the beginning."""
        if self._state is None:
            raise RuntimeError("the model is not held; call it inside of held().")
        # Not after a call, as its gradient may call parts of it again.
        self._swap.close()
        self._swap.enter_context(self._state.swapped())

    def forward(self, images: Tensor) -> Any:
        """Return what the model says to images of shape (B, C, H, W)."""
        self.renew()
        return self.model(images.clone())


class _State(Protocol):
    def swapped(self) -> AbstractContextManager[None]:
        """Return a context that undoes what happens to the model inside of it."""


class _Values:
    """The values of parameters and buffers that nothing else can stand in for."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        self._values = [(each, each.detach().clone()) for each in tensors]

    @contextmanager
    def swapped(self) -> Iterator[None]:
        try:
            yield
        finally:
            for tensor, value in self._values:
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(value)


def _state_of(model: nn.Module, keep: list[Any]) -> _State:
    isolation = Isolation(model, keep=keep)
    try:
        with isolation.swapped():
            return isolation
    except (RuntimeError, TypeError):  # scripted, of odd layouts, or compiled long ago
        return _Values(model)
