"""How an attack is run: as it is, compiled, or recorded and repeated."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from lightly_adv import processes
from lightly_adv.attacks import notices
from lightly_adv.batch_norm import routes
from lightly_adv.functional.validation import check_choice
from lightly_adv.isolation import compiled
from lightly_adv.training.cuda_graph import CudaGraph, Recording
from lightly_adv.training.perturb import Perturbation
from lightly_adv.training.recorded_attack import (
    VERIFIED,
    RecordedAttack,
    check_strength,
)

AttackBackend: TypeAlias = Literal["auto", "eager", "compile", "cuda_graph"]
"""How an attack is run. "auto" is "eager": the others are for who has measured them."""

Runner: TypeAlias = Callable[[Perturbation], list[Tensor]]


def check_backend(backend: str) -> None:
    """Refuse what is no backend.

    Raises:
        ValueError: If it is none.
    """
    check_choice("attack_backend", backend, get_args(AttackBackend))


class AttackRunner:
    """Runs the attacks of a module on a backend, and as they are where that fails.

    Copies and pickles of a module begin from scratch: what is recorded belongs to its
    tensors.

    Args:
        backend: The backend.
        create: Makes recordings, for "cuda_graph".

    Examples:
        >>> AttackRunner("graph")
        Traceback (most recent call last):
        ValueError: attack_backend='graph' is unknown; use one of ('auto', 'eager', ...
    """

    def __init__(
        self,
        backend: AttackBackend = "auto",
        *,
        create: Callable[[], Recording] = CudaGraph,
    ) -> None:
        check_backend(backend)
        self.backend = backend
        self._create = create
        self._runner = self._made()
        self._said: set[str] = set()

    def __reduce__(self) -> tuple[type[AttackRunner], tuple[AttackBackend]]:
        """Copy and pickle the choice alone."""
        return AttackRunner, (self.backend,)

    def __call__(self, wanted: Perturbation) -> list[Tensor]:
        """Perturb views.

        Raises:
            UnfitBatchError: If this batch cannot be attacked.
            ValueError: If the machine does not have the backend.
        """
        with notices.once(self._said):
            if self._runner is None:
                return wanted.eager()
            if self._create is CudaGraph:
                check_machine(self.backend, wanted.views[0].device)
            state = wanted.generator.get_state()
            try:
                return self._runner(wanted)
            except Exception as error:
                # What the loss itself raises comes again without the backend, and so
                # does what is wrong with the batch.
                wanted.generator.set_state(state)
                perturbed = wanted.eager()
                self._give_up(error)
                return perturbed

    def _made(self) -> Runner | None:
        if self.backend == "cuda_graph":
            return RecordedAttack(self._create)
        return CompiledAttack() if self.backend == "compile" else None

    def _give_up(self, error: Exception) -> None:
        self._runner = None
        first = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"attack_backend={self.backend!r} failed, and attacks are run as they are "
            f"from now on: {type(error).__name__}: {first}.",
            stacklevel=notices.lines_to_the_caller(),
        )


class CompiledAttack:
    """Compiles the loss under attack with `torch.compile`, and the network in it.

    The first batches of each shape are attacked as they are, too, to compare.
    """

    def __init__(self) -> None:
        self._verified: Counter[Any] = Counter()

    def __call__(self, wanted: Perturbation) -> list[Tensor]:
        """Perturb views.

        Raises:
            UnfaithfulError: If that does not raise the loss as it should.
            TypeError: If a graph would not see parameters, as before PyTorch 2.5, or
                the BatchNorm route.
        """
        compiled.check_compilable()
        if routes.routed_layers(wanted.module):
            raise TypeError(
                "the module has layers with several BatchNorm routes, and a compiled "
                "graph does not see which of them is asked for"
            )
        state = wanted.generator.get_state()
        # Shapes of their own for a last smaller batch, rather than slower code for all.
        loss: Any = torch.compile(wanted.loss, dynamic=False)
        found = replace(wanted, loss=loss).eager()
        shapes = tuple((view.shape, view.dtype) for view in wanted.views)
        if self._verified[shapes] < VERIFIED:
            wanted.generator.set_state(state)
            expected = wanted.eager()
            check_strength(wanted, found, expected)
            self._verified[shapes] += 1
            return expected
        return found


def check_machine(backend: AttackBackend, device: torch.device) -> None:
    """Refuse a backend that a machine does not have.

    Args:
        backend: The backend.
        device: That of the views.

    Raises:
        ValueError: If it needs another device, a compiler that is not there, or to be
            alone.

    Examples:
        >>> check_machine("cuda_graph", torch.device("cpu"))
        Traceback (most recent call last):
        ValueError: attack_backend='cuda_graph' needs views on a CUDA GPU, but they ...
    """
    if backend == "cuda_graph" and device.type != "cuda":
        raise ValueError(
            "attack_backend='cuda_graph' needs views on a CUDA GPU, but they are "
            f"on {device}; train with accelerator='gpu', or pass "
            "attack_backend='eager'."
        )
    # To verify takes more evaluations, for which other processes would wait.
    if backend in ("compile", "cuda_graph") and processes.count() > 1:
        raise ValueError(
            f"attack_backend={backend!r} is for one process, but "
            f"{processes.count()} train together; pass attack_backend='eager'."
        )
    if backend == "compile" and not _has_compiler(device):
        what = "triton" if device.type == "cuda" else "a C++ compiler"
        raise ValueError(
            f"attack_backend='compile' needs {what}, which is not found; install it "
            "(pip install triton, or g++), or pass attack_backend='eager'."
        )


def _has_compiler(device: torch.device) -> bool:
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    names = (os.environ.get("CXX", "g++"), "g++", "clang++", "cl")
    return any(shutil.which(name) for name in names)
