"""A model that answers every time as at first, and is afterwards what it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lightly_adv.evaluation import confirmation
from lightly_adv.isolation import modes, rng
from lightly_adv.isolation.isolated import Isolation


class IsolatedModel(nn.Module):
    """A model that every call finds in the state that it had before the first one.

    Statistics that adapt in eval mode, observers of quantisation, counters and other
    buffers may move in a call, and its gradient is that of this call; the next one
    begins from scratch. So a result depends neither on the order of the images nor on
    the steps that an attack took before. Images are given as copies, for models that
    write into their input. Random numbers go on from call to call.

    Args:
        model: The model; it is called inside of `held` only.

    Examples:
        >>> class Adapting(nn.Module):
        ...     calls = 0
        ...     def forward(self, images):
        ...         self.calls += 1
        ...         return images.mul_(self.calls)
        >>> model, images = Adapting(), torch.ones(1)
        >>> isolated = IsolatedModel(model)
        >>> with isolated.held():
        ...     isolated(images), isolated(images)
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
            # They go on, too: who draws is to draw again in every call.
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
        """Return the output of the model for images of shape (B, C, H, W)."""
        self.renew()
        return self.model(images.clone())


@contextmanager
def isolated(
    model: nn.Module, *, device: torch.device, seed: int
) -> Iterator[IsolatedModel]:
    """Evaluate in float32 and eval mode, and leave no trace.

    Inside, nothing is recorded for autograd (attacks switch it on for themselves),
    even if inference mode or autocast was on. At the end, the module is what it was,
    with all that it holds, and so are the global random states.

    Args:
        model: The module to evaluate.
        device: Where it is evaluated.
        seed: Seed of the global random states inside, for models that draw.

    Yields:
        What is to be called in place of the module: it begins every call with the
        same state.

    Raises:
        UnconfirmedError: If the module has moved, and that cannot be undone.
    """
    isolated_model = IsolatedModel(model)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(modes.evaluation_mode(model))
        stack.enter_context(isolated_model.held())
        stack.enter_context(rng.forked(device))
        rng.reseed(seed)
        stack.enter_context(
            confirmation.steady(isolated_model, device=device, seed=seed)
        )
        yield isolated_model


def to_device(
    models: Mapping[str, nn.Module], device: str | torch.device | None
) -> torch.device:
    """Move models to a device, if one is given, or to that of the first one.

    Args:
        models: The models by name.
        device: Where to move them. Defaults to where the first one is.

    Returns:
        The device.

    Raises:
        TypeError: If one is not a module.
    """
    for name, model in models.items():
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"{name} is a {type(model).__name__}; expected a torch.nn.Module that "
                "maps images to logits."
            )
    where = device
    for model in models.values():
        if where is not None:
            model.to(where)
        tensors = itertools.chain(model.parameters(), model.buffers())
        where = next(tensors, torch.empty(0, device=where)).device
    return torch.device(where or "cpu")


class _State(Protocol):
    def swapped(self) -> AbstractContextManager[None]:
        """Return a context that undoes what happens to the model inside of it."""


class _Values:
    """The values of parameters and buffers that nothing else can stand in for."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors]

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
