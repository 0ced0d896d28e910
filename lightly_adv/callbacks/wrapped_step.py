"""The training step of one module, with something around it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from torch import nn

from lightly_adv.training.views import Step

Around: TypeAlias = Callable[[Step, Any], Any]
"""Takes a step that lacks its batch, and the batch; returns what the step returns."""


class WrappedStep:
    """Stands for the training step of one instance until `unwrap`.

    Neither a subclass nor a hook: this keeps autocast, DDP and checkpoint keys. It
    takes the arguments of the step by position and by keyword. A copy of the module,
    or a pickle, has the step from before: it belongs to no run.

    Args:
        module: The module with a `training_step`.
        around: What is done around it.

    Examples:
        >>> class Module(nn.Module):
        ...     def training_step(self, batch, batch_idx):
        ...         return batch
        >>> module = Module()
        >>> wrapped = WrappedStep(module, lambda step, batch: step(batch) + 1)
        >>> module.training_step(batch=1, batch_idx=0)
        2
        >>> copy.deepcopy(module).training_step(1, 0)
        1
        >>> wrapped.unwrap()
        >>> module.training_step(1, 0)
        1
    """

    def __init__(self, module: nn.Module, around: Around) -> None:
        self._module = module
        self._own = vars(module).get("training_step")
        step: Any = module.training_step
        self._step: Callable[..., Any] = step
        self._around: Around | None = around
        # What Lightning asks for the signature, and whether a step is defined at all.
        functools.update_wrapper(self, step, updated=())
        vars(module)["training_step"] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run what is around the step, with the batch that was given."""
        step, around = self._step, self._around
        if around is not None and args:
            batch, *others = args
            return around(lambda views: step(views, *others, **kwargs), batch)
        name = "batch" if "batch" in kwargs else next(iter(_parameters(step)), "")
        if around is not None and name in kwargs:
            return around(lambda views: step(**{**kwargs, name: views}), kwargs[name])
        return step(*args, **kwargs)

    def unwrap(self) -> None:
        """Give the module its own step back; who kept this one gets that, too."""
        self._around = None
        attributes = vars(self._module)
        if attributes.get("training_step") is self:
            del attributes["training_step"]
            if self._own is not None:
                attributes["training_step"] = self._own

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return the step of the copy, without anything around it."""
        return copy.deepcopy(self._step, memo)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the step alone."""
        return _itself, (self._step,)


def _itself(step: Any) -> Any:
    return step


def _parameters(step: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(step).parameters)
