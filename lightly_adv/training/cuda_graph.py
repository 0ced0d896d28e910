"""Record what a function has a CUDA device do, and have it done again.

All there is of CUDA graphs; what may be recorded, and when, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Generator

Result = TypeVar("Result")

WARM_UPS = 2
"""How often a function runs before it is recorded: libraries choose their kernels."""


class Recording(Protocol):
    """Work on tensors in fixed places, which can be done again."""

    def record(self, run: Callable[[], Result], *, generator: Generator) -> Result:
        """Run a function and record the work.

        Args:
            run: Reads and returns tensors, and looks at the value of none.
            generator: What it draws from; drawn from again in each repetition.

        Returns:
            What it returned; `repeat` writes into the tensors in it.
        """

    def repeat(self) -> None:
        """Do the work again, on what is in the tensors by now."""


class CudaGraph:
    """A CUDA graph.

    Known traps that it keeps out of: what threads of data loaders do meanwhile must not
    end the recording, weights that autocast has cast must not be kept from outside, and
    generators have to be registered.
    """

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def record(self, run: Callable[[], Result], *, generator: Generator) -> Result:
        """See `Recording`."""
        state = generator.get_state()
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            self._warm_up(run)
            generator.set_state(state)
            self._graph.register_generator_state(generator)
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                result = run()
        finally:
            torch.set_autocast_cache_enabled(cached)
            generator.set_state(state)
        return result

    def repeat(self) -> None:
        """See `Recording`."""
        self._graph.replay()

    def _warm_up(self, run: Callable[[], Result]) -> None:
        here = torch.cuda.current_stream()
        side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                run()
        here.wait_stream(side)
