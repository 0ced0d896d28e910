"""Run a module as often as wanted, and have it as it was before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.isolation import mute, rng
from lightly_adv.isolation.compiled import check_compiled
from lightly_adv.isolation.copies import Copier


@contextmanager
def isolated(
    module: nn.Module, *, differentiable: bool = False, keep: Iterable[Tensor] = ()
) -> Iterator[None]:
    """Let nothing that happens inside reach the module or a random stream.

    Parameters, buffers, plain tensors and containers of every submodule are replaced
    by stand-ins, and the original objects are put back at the end, also after an
    error. Optimisers, hooks and process groups that refer to them stay valid. Inside,
    logging is muted, and random numbers are those that come after the block as well.

    State that lives elsewhere is out of reach: in objects that are neither modules
    nor built-in containers, in globals, closures and files.

    Args:
        module: The module to protect, with everything that it holds.
        differentiable: Keep trainable parameters attached to the graph, so that a loss
            computed inside can be differentiated outside. By default no parameter
            requires a gradient inside.
        keep: Tensors of the module that stay in place, and advance with what is done
            to them inside, such as the statistics of one BatchNorm route.

    Raises:
        TypeError: If the module contains a scripted module, or a compiled one where
            PyTorch is too old for it.
        ValueError: If the module holds a lazy parameter that has no shape yet.

    Examples:
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
    """Isolates many evaluations of one module, and reuses the memory of stand-ins.

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
        keep: Iterable[Tensor] = (),
    ) -> None:
        self._module = module
        self._differentiable = differentiable
        self._keep = list(keep)
        self._pool: dict[Any, Tensor] = {}

    @contextmanager
    def evaluation(self, *, seed: int | None = None) -> Iterator[None]:
        """Isolate one evaluation; see `isolated`.

        Args:
            seed: Seed the random streams inside. By default they continue from where
                they stand, which replays what comes after the block.
        """
        device = next((p.device for p in self._module.parameters()), None)
        quiet = mute.muted_loggers(self._module)
        with rng.forked(device), quiet, self.swapped():
            if seed is not None:
                rng.reseed(seed)
            yield

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Put stand-ins in place of the state, and leave random streams alone."""
        swap = _Swap(self._pool, differentiable=self._differentiable, keep=self._keep)
        self._pool = swap.enter(self._module)
        try:
            yield
        finally:
            swap.leave()


class _Swap:
    """The attributes of all modules, and what stands in for them."""

    def __init__(
        self, pool: dict[Any, Tensor], *, differentiable: bool, keep: Iterable[Tensor]
    ) -> None:
        self._queue: deque[nn.Module] = deque()
        self._seen: set[int] = set()
        self._saved: list[tuple[nn.Module, dict[str, Any]]] = []
        self._hooks: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._copier = Copier(
            pool=pool, differentiable=differentiable, keep=keep, found=self._enqueue
        )

    def enter(self, module: nn.Module) -> dict[Any, Tensor]:
        """Put stand-ins in place; return the storage that they use."""
        replacements = []
        self._enqueue(module)
        while self._queue:
            current = self._queue.popleft()
            attributes = dict(current.__dict__)
            self._saved.append((current, attributes))
            replacements.append(self._stand_ins(current, attributes))
        self._copier.fill()
        for (current, _), replaced in zip(self._saved, replacements, strict=True):
            current.__dict__.update(replaced)
        return self._copier.used

    def leave(self) -> None:
        """Put the original objects back."""
        for module, attributes in self._saved:
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for hooks, saved in self._hooks:
            if hooks != saved or list(hooks) != list(saved):
                hooks.clear()
                hooks.update(saved)

    def _enqueue(self, module: nn.Module) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"{type(module).__name__} is a scripted module, whose state cannot be "
                "set aside; use the Python module that it was made from."
            )
        if id(module) not in self._seen:
            check_compiled(module)
            self._seen.add(id(module))
            self._queue.append(module)

    def _stand_ins(
        self, module: nn.Module, attributes: dict[str, Any]
    ) -> dict[str, Any]:
        replaced = {}
        for name, value in attributes.items():
            if _is_hooks(name, value):
                # Handles refer to this very dict, so its content is put back instead.
                self._hooks.append((value, dict(value)))
                continue
            copied = self._copier(value)
            if copied is not value:
                replaced[name] = copied
        if mute.is_lightning_module(module):
            replaced.update(dict.fromkeys(mute.LOG_METHODS, mute.silence))
        return replaced


def _is_hooks(name: str, value: Any) -> bool:
    return isinstance(value, dict) and name.startswith("_") and "_hooks" in name
