"""Run a module as often as wanted, and have it as it was before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lightly_adv.isolation import mute, rng
from lightly_adv.isolation.plan import Plan


@contextmanager
def isolated(
    module: nn.Module, *, differentiable: bool = False, keep: Iterable[Any] = ()
) -> Iterator[None]:
    """Let nothing that happens inside reach the module or a random stream.

    Parameters, buffers, other tensors and arrays of every submodule are replaced by
    copies, which on the CPU share their memory until one of the two is written to, and
    the contents of containers and objects are remembered. All is put back at the end,
    also after an error: the very same objects, so that optimisers, hooks and process
    groups that refer to them stay valid. The same holds for learning rates and
    schedulers of the trainer, for variables of functions that the module holds, for
    data of its classes, and for memory that processes share. Inside, logging is muted,
    and random numbers are those that come after the block as well.

    State that lives elsewhere is out of reach: in globals, files and generators, and in
    objects that libraries look after, such as data loaders. Data are left alone, too:
    the items of a container with more than 1000 containers or objects, those of a list
    with more than 1000 tensors, and arrays of more than 64 MiB.

    Args:
        module: The module to protect, with everything that it holds.
        differentiable: Keep trainable parameters attached to the graph, so that a loss
            computed inside can be differentiated outside. By default no parameter
            requires a gradient inside.
        keep: Tensors and random sources of the module that stay in place, and advance
            with what is done to them inside, such as the statistics of one BatchNorm
            route.

    Raises:
        TypeError: If the module contains a scripted module, or a compiled one where
            PyTorch is too old for it.
        ValueError: If the module holds a lazy parameter that has no shape yet.

    Examples:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> with isolated(norm):
        ...     output = norm(torch.randn(8, 2))
        >>> norm.num_batches_tracked
        tensor(0)
    """
    isolation = Isolation(module, differentiable=differentiable, keep=keep)
    with isolation.evaluation():
        yield


class Isolation:
    """Isolates many evaluations of one module, and pays for what changed between them.

    What the module holds is found in the first evaluation; those after it look for what
    has changed.

    Args:
        module: See `isolated`.
        differentiable: See `isolated`.
        keep: See `isolated`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        differentiable: bool = False,
        keep: Iterable[Any] = (),
    ) -> None:
        self._module = module
        self._differentiable = differentiable
        self._keep = list(keep)
        self._plan = Plan(module)

    @contextmanager
    def evaluation(
        self,
        *,
        seed: int | None = None,
        differentiable: bool | None = None,
        keep: Iterable[Any] | None = None,
    ) -> Iterator[None]:
        """Isolate one evaluation; see `isolated`.

        Args:
            seed: Seed the random streams inside. By default they continue from where
                they stand, which replays what comes after the block.
            differentiable: See `isolated`; by default as in all evaluations.
            keep: See `isolated`; by default as in all evaluations.
        """
        device = next((p.device for p in self._module.parameters()), None)
        with rng.forked(device), self.swapped(differentiable=differentiable, keep=keep):
            if seed is not None:
                rng.reseed(seed)
            yield

    @contextmanager
    def swapped(
        self,
        *,
        differentiable: bool | None = None,
        keep: Iterable[Any] | None = None,
    ) -> Iterator[None]:
        """Put copies in place of the state, and leave random streams alone."""
        if differentiable is None:
            differentiable = self._differentiable
        kept = self._keep if keep is None else keep
        # Inside of another evaluation, what is found are the copies of that one.
        plan = Plan(self._module) if self._plan.is_active else self._plan
        try:
            plan.enter(differentiable=differentiable, keep=kept)
            with mute.muted(plan.trainers):
                yield
        finally:
            plan.leave()


class SharedIsolation:
    """Isolates modules that are used together, with one plan as long as they stay.

    It belongs to one object, often a part of one of these modules: a copy of it, or
    what is loaded from a pickle, finds its modules anew.
    """

    def __init__(self) -> None:
        self._together = nn.ModuleList()
        self._isolation = Isolation(self._together)

    def of(self, modules: Iterable[nn.Module]) -> tuple[nn.ModuleList, Isolation]:
        """Return the modules as one, in any order, and what isolates it."""
        different = {id(module): module for module in modules}
        if different.keys() != set(map(id, self._together)):
            self._together = nn.ModuleList(different.values())
            self._isolation = Isolation(self._together)
        return self._together, self._isolation

    def __reduce__(self) -> tuple[type[SharedIsolation], tuple[()]]:
        """Leave the modules out of copies and pickles."""
        return type(self), ()
