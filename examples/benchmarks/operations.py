"""How many floating point operations does something take?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """Call a function once; return the operations of convolutions and matrix products.

    Args:
        function: What is called; backward passes of any order in it are counted, too.
        *arguments: Its arguments.
    """
    with _Operations() as counter:
        function(*arguments)
    return counter.total


class _Operations(TorchDispatchMode):
    """Counts operations as `FlopCounterMode` does, which forbids `autograd.grad`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        operations = flop_registry.get(func._overloadpacket)
        if operations is not None:
            self.total += operations(*args, **(kwargs or {}), out_val=output)
        return output
