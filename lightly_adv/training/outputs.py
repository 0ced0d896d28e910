"""Views that a submodule makes inside of the training step, as augmentations do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.training import places
from lightly_adv.training.views import SelectedViews, Step, select_views
from lightly_adv.types import NormalizeStats


def names_of(policy: Any) -> tuple[str, ...] | None:
    """Return the submodules that a view policy names, if it does.

    Examples:
        >>> names_of("augment"), names_of(["augment1", "augment2"])
        (('augment',), ('augment1', 'augment2'))
        >>> names_of("global"), names_of([0, 1])
        (None, None)
    """
    if isinstance(policy, str):
        return None if policy == "global" else (policy,)
    if isinstance(policy, Sequence) and policy:
        names = tuple(each for each in policy if isinstance(each, str))
        return names if len(names) == len(policy) else None
    return None


def check_names(module: nn.Module, names: Sequence[str]) -> None:
    """Refuse names of submodules that there are not.

    Raises:
        ValueError: If a name is none, with those that there are.
    """
    known = [name for name, _ in module.named_modules() if name]
    for name in names:
        if name not in known:
            shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            raise ValueError(
                f"views={name!r} names no submodule of {type(module).__name__}; "
                f"expected one whose output is a view, of: {shown or 'none'}. Else "
                "pass None, 'global', a list of indices, or a function from the "
                "batch to tensors."
            )


@dataclass(frozen=True)
class SubmoduleViews:
    """The views that submodules put out in one training step, and the way back.

    In each run the outputs of their calls, one after the other, are exchanged for those
    with the given views in them.

    Args:
        selected: The views in the list of all outputs.
    """

    selected: SelectedViews
    _parts: list[nn.Module]
    _batch: Any

    @property
    def views(self) -> list[Tensor]:
        """The selected views."""
        return self.selected.views

    @property
    def images(self) -> list[Tensor]:
        """All views that the submodules put out."""
        return self.selected.images

    def evaluated(self, step: Step, views: Sequence[Tensor]) -> Any:
        """Run a step on other views, where it may write into what it is given."""
        # A submodule that runs under no_grad must not end the gradient here.
        with torch.enable_grad():
            outputs = self.selected.copied(views)
        with _exchanged(self._parts, outputs):
            return step(places.mapped(torch.clone, self._batch))

    def trained(self, step: Step, views: Sequence[Tensor]) -> Any:
        """Run a step on other views."""
        with _exchanged(self._parts, self.selected.replace(views)):
            return step(self._batch)

    def without(self, parts: Mapping[places.Path, set[int]]) -> SubmoduleViews:
        """Return the same without some of the views that are stacked in one tensor."""
        return dataclasses.replace(self, selected=self.selected.without(parts))

    def stacks(self) -> dict[int, places.Stack]:
        """Return the views that are stacks of views, by their number."""
        return self.selected.stacks()

    def __str__(self) -> str:
        """Say what is perturbed."""
        return f"{self.selected}, where the batch is the outputs of the submodules"


def submodule_views(
    batch: Any,
    names: Sequence[str],
    *,
    step: Step,
    module: nn.Module,
    isolated: AbstractContextManager[Any],
    normalize: NormalizeStats | None,
    known: dict[places.Path, str] | None = None,
) -> SubmoduleViews:
    """Run a training step once, isolated, and take what submodules put out as views.

    Args:
        batch: What the data loader yields.
        names: Names of the submodules, as in `named_modules`.
        step: The training step.
        module: The module that has them.
        isolated: Isolates the run, in which random numbers are those of the real step.
        normalize: Mean and std with which the outputs are normalised, if they are.
        known: See `select_views`.

    Raises:
        ValueError: If there is no such submodule, if the step does not call it, or if
            it puts out no views.
    """
    check_names(module, names)
    parts = [module.get_submodule(name) for name in names]
    outputs: list[Any] = []

    def note(part: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(places.mapped(lambda leaf: leaf.detach().clone(), output))

    with isolated, _hooked(parts, note):
        step(places.mapped(torch.clone, batch))
    if not outputs:
        raise ValueError(
            f"the training step does not call {' or '.join(map(repr, names))}, which "
            "views= names; expected submodules whose output is a view."
        )
    selected = select_views(outputs, policy=None, normalize=normalize, known=known)
    return SubmoduleViews(selected, parts, batch)


@contextmanager
def _exchanged(parts: Sequence[nn.Module], outputs: Sequence[Any]) -> Iterator[None]:
    rest = iter(outputs)
    end = object()

    def exchange(part: nn.Module, inputs: Any, output: Any) -> Any:
        other = next(rest, end)
        if other is end:
            raise ValueError(
                f"{type(part).__name__}, which views= names, was called more than "
                f"{len(outputs)} times, unlike in the first run of this step; expected "
                "the same calls in each run."
            )
        return other

    with _hooked(parts, exchange):
        yield


@contextmanager
def _hooked(
    parts: Sequence[nn.Module], hook: Callable[[nn.Module, Any, Any], Any]
) -> Iterator[None]:
    handles = [part.register_forward_hook(hook) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
