"""The route that layers with several sets of BatchNorm statistics take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

CLEAN = "clean"
"""Route of clean images."""
ADV = "adv"
"""Route of perturbed images."""

_ROUTE: ContextVar[str | None] = ContextVar("bn_route", default=None)
_AGAIN: ContextVar[bool] = ContextVar("bn_route_again", default=False)


@contextmanager
def bn_route(route: str) -> Iterator[None]:
    """Let all layers with several routes take this one inside of the block.

    Blocks nest, and the route before is back after an error, too. As with
    `torch.no_grad`, a block holds for the thread that it is in, and nothing is written
    to the layers: copies and checkpoints made inside know nothing of it. Outside of
    any block layers take their first route.

    Args:
        route: Name of the route. Layers that do not have it raise when they are called.

    Raises:
        TypeError: If the name is not a string.

    Examples:
        >>> from lightly_adv.batch_norm import convert_dual_batchnorm
        >>> module = convert_dual_batchnorm(nn.BatchNorm1d(2))
        >>> with bn_route("adv"):
        ...     output = module(torch.randn(8, 2))
        >>> [int(each.num_batches_tracked) for each in module.routes.values()]
        [0, 1]
    """
    if not isinstance(route, str):
        raise TypeError(
            f"route is a {type(route).__name__}; expected a name: bn_route('adv')."
        )
    token = _ROUTE.set(route)
    try:
        yield
    finally:
        _ROUTE.reset(token)


@contextmanager
def same_route(route: str) -> Iterator[None]:
    """Take the route of the forward pass again, where gradients are computed.

    Args:
        route: The route of the forward pass.
    """
    token = _AGAIN.set(True)
    try:
        with bn_route(route):
            yield
    finally:
        _AGAIN.reset(token)


class RoutedLayer(nn.Module):
    """A layer with one module per route, of which each call runs one.

    Args:
        routes: The modules by the names of their routes; the first is the default.
    """

    def __init__(self, routes: dict[str, nn.Module]) -> None:
        super().__init__()
        self.routes = nn.ModuleDict(routes)

    def current(self) -> nn.Module:
        """Return the module of the current route.

        Raises:
            RuntimeError: If it is called while gradients are computed.
            ValueError: If this layer does not have the route.
        """
        _refuse_recomputation()
        names = tuple(self.routes)
        route = _ROUTE.get()
        if route is None:
            return self.routes[names[0]]
        return self.module_of(route)

    def module_of(self, route: str) -> nn.Module:
        """Return the module of one route.

        Raises:
            ValueError: If this layer does not have the route.
        """
        if route not in self.routes:
            raise ValueError(
                f"the route {route!r} does not exist: the layer has the routes "
                f"{tuple(self.routes)}. Use one of these, or name it when converting: "
                f"convert_dual_batchnorm(module, routes=('clean', {route!r}))."
            )
        return self.routes[route]


def routed_layers(module: nn.Module) -> dict[str, RoutedLayer]:
    """Return the layers with several routes in a module, by their names."""
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, RoutedLayer)
    }


def check_routes(module: nn.Module, *routes: str) -> None:
    """Refuse a module in which some layers with several routes lack one of these.

    Modules without such layers pass.

    Raises:
        ValueError: If a layer lacks a route, with its name.
    """
    for name, layer in routed_layers(module).items():
        lacking = [route for route in routes if route not in layer.routes]
        if lacking:
            raise ValueError(
                f"the layer {name!r} has the routes {tuple(layer.routes)}, but "
                f"{lacking} is needed here. Use one of these, or convert the plain "
                f"module with these names: convert_dual_batchnorm(module, routes="
                f"{tuple(dict.fromkeys([CLEAN, ADV, *routes]))})."
            )


def check_known(module: nn.Module, route: str) -> None:
    """Refuse a route that no layer of a module has, such as a misspelt one.

    "clean" and "adv" pass: where there is but one set of statistics, both take it.

    Raises:
        ValueError: If no layer has the route.

    Examples:
        >>> check_known(nn.BatchNorm1d(2), "avd")
        Traceback (most recent call last):
        ValueError: the route 'avd' does not exist: the module has the routes ...
    """
    if route in (CLEAN, ADV):
        return
    names = [name for x in routed_layers(module).values() for name in x.routes]
    if route not in names:
        known = tuple(dict.fromkeys([CLEAN, ADV, *names]))
        raise ValueError(
            f"the route {route!r} does not exist: the module has the routes {known}. "
            "Use one of these, or name it when converting: "
            f"convert_dual_batchnorm(module, routes=('clean', {route!r}))."
        )


def buffers_of(module: nn.Module, route: str) -> list[Tensor]:
    """Return the statistics of one route, of all layers that have it."""
    return [
        buffer
        for layer in routed_layers(module).values()
        if route in layer.routes
        for buffer in layer.routes[route].buffers()
    ]


def _refuse_recomputation() -> None:
    """Gradient checkpointing calls layers again in the backward pass.

    By then the block is left, and another route would silently give wrong gradients.
    """
    if torch.compiler.is_compiling() or _AGAIN.get():
        return
    # PyTorch itself tells in this way whether a backward pass is running.
    if torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a layer with several BatchNorm routes is called in the backward pass, as "
            "gradient checkpointing does, where it cannot know the route of the "
            "forward pass. Switch gradient checkpointing off, for timm with "
            "backbone.set_grad_checkpointing(False)."
        )
