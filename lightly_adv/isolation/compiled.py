"""Compiled modules, and the versions of PyTorch in which they can be set aside."""

from __future__ import annotations

import warnings

from torch import nn


def obstacle(module: nn.Module) -> str | None:
    """Return why a compiled module cannot be set aside; None if it can.

    PyTorch 2.4 builds parameters into the graph unless told otherwise: copies in their
    place would stay in the graph, or out of it, and gradients would silently be those
    of other weights.
    """
    if not is_compiled(module) or _parameters_are_inputs():
        return None
    return (
        f"{type(module).__name__} is compiled, and this version of PyTorch builds the "
        "parameters into the compiled graph, so that they cannot be set aside. Update "
        "to torch>=2.5, or compile after "
        "torch._dynamo.config.inline_inbuilt_nn_modules = True, or not at all."
    )


def check_compilable() -> None:
    """Refuse to compile where parameters would be built into the compiled graph.

    Raises:
        TypeError: If this version of PyTorch does that.
    """
    if not _parameters_are_inputs():
        raise TypeError(
            "this version of PyTorch builds parameters into compiled graphs, where "
            "they cannot be set aside. Update to torch>=2.5."
        )


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is compiled, by `torch.compile`, itself or by Lightning.

    Examples:
        >>> is_compiled(nn.Linear(1, 1))
        False
    """
    state = vars(module)
    return (
        state.get("_compiled_call_impl") is not None
        or state.get("_compiler_ctx") is not None
        or type(module).__name__ == "OptimizedModule"
    )


def _parameters_are_inputs() -> bool:
    # Not at the top: it takes a second, and whoever compiles has it already.
    from torch._dynamo import config

    with warnings.catch_warnings():
        # Later versions always do so, and warn of the question.
        warnings.simplefilter("ignore")
        return bool(getattr(config, "inline_inbuilt_nn_modules", True))
