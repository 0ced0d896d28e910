"""BatchNorm with separate statistics for clean and for adversarial images."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from lightly_adv.batch_norm import routes as routing
from lightly_adv.batch_norm.dual_layers import DualBatchNorm, DualBatchNormAct
from lightly_adv.batch_norm.routes import ADV, CLEAN, RoutedLayer


def convert_dual_batchnorm(
    module: nn.Module, *, routes: Sequence[str] = (CLEAN, ADV)
) -> nn.Module:
    """Give every BatchNorm layer its own parameters and statistics for each route.

    All routes start from what the layer has, so that a pre-trained network gives the
    same outputs on each. The first route keeps the parameters themselves, the others
    get copies; all other parameters keep their names and are shared between routes.
    Layers take the first route unless `bn_route` says otherwise, in train and in eval
    mode.

    Convert before the optimiser is made, and weights may be loaded before or after: a
    checkpoint of the plain module fits, and fills all routes. A layer that occurs in
    several places stays one layer. Layers inside of lists and other objects that are
    not modules are out of reach.

    - [0] Adversarial Examples Improve Image Recognition, 2019,
      https://arxiv.org/abs/1911.09665
    - [1] Robust Pre-Training by Adversarial Contrastive Learning, 2020,
      https://arxiv.org/abs/2010.13337

    Args:
        module: A network with BatchNorm1d, 2d, 3d, SyncBatchNorm, timm's
            BatchNormAct2d or other subclasses. It is converted in place.
        routes: At least two names; the first is the default.

    Returns:
        The module; if it is itself a BatchNorm layer, the new layer. Without any
        BatchNorm the module comes back as it was, with a warning.

    Raises:
        TypeError: If what is given is not a module.
        ValueError: If the names do not do; if the module was converted before; if a
            layer is lazy and has no shape yet, or has hooks. The module is then left
            as it was.

    Examples:
        >>> import torch
        >>> network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        >>> network = convert_dual_batchnorm(network)
        >>> list(network.state_dict())[:4]
        ['0.weight', '0.bias', '1.routes.clean.weight', '1.routes.clean.bias']
        >>> with routing.bn_route("adv"):
        ...     output = network(torch.randn(4, 3))
    """
    names = _checked_names(routes)
    layers = _layers(module)
    if not layers:
        warnings.warn(
            f"{type(module).__name__} has no BatchNorm layer and stays as it is: "
            "clean and adversarial images share all of its layers. Other norms keep "
            "no statistics of the batch, so that there is nothing to separate.",
            stacklevel=2,
        )
        return module
    # One memory per route: parameters that layers share stay shared.
    memories: list[dict[int, Any]] = [{} for _ in names[1:]]
    replacements: dict[int, nn.Module] = {}
    for layer in layers:
        norms = [layer, *(copy.deepcopy(layer, memory) for memory in memories)]
        create = DualBatchNormAct if type(layer) is BatchNormAct2d else DualBatchNorm
        replacements[id(layer)] = create(dict(zip(names, norms, strict=True)))
    return _replace(module, replacements)


def export_route(module: nn.Module, route: str) -> nn.Module:
    """Return a plain copy of a converted module, with the layers of one route.

    Classes and keys are those from before the conversion, also if the layers have
    been turned into SyncBatchNorm since. The outputs are bit for bit those of the
    converted module on this route.

    Args:
        module: What `convert_dual_batchnorm` returned, or a module that contains it.
            It stays as it is.
        route: Name of the route to keep.

    Raises:
        ValueError: If no layer of the module has routes, or one of them not this.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        >>> dual = convert_dual_batchnorm(copy.deepcopy(network))
        >>> str(export_route(dual, "adv")) == str(network)
        True
    """
    layers = routing.routed_layers(module)
    if not layers:
        raise ValueError(
            f"{type(module).__name__} has no layer with several routes; expected a "
            "module from convert_dual_batchnorm. It is plain already."
        )
    routing.check_routes(module, route)
    exported = copy.deepcopy(module)
    replacements = {
        id(layer): layer.plain(route)
        for layer in exported.modules()
        if isinstance(layer, DualBatchNorm)
    }
    return _replace(exported, replacements)


def _checked_names(routes: Sequence[str]) -> tuple[str, ...]:
    names = (routes,) if isinstance(routes, str) else tuple(routes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"routes={routes!r} are too few or not distinct; expected at least two "
            "names, such as ('clean', 'adv')."
        )
    for name in names:
        taken = isinstance(name, str) and hasattr(nn.ModuleDict(), name)
        if not isinstance(name, str) or not name.isidentifier() or taken:
            raise ValueError(
                f"the route {name!r} cannot be part of a key in a checkpoint; expected "
                "a Python name that torch.nn.ModuleDict does not use itself."
            )
    return names


def _layers(module: nn.Module) -> list[_BatchNorm]:
    """Return the outermost BatchNorm layers, each once, after checking them."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module is a {type(module).__name__}; expected a torch.nn.Module."
        )
    found: dict[str, _BatchNorm] = {}
    inside: set[nn.Module] = set()
    for name, part in module.named_modules():
        if isinstance(part, RoutedLayer):
            raise ValueError(
                f"{name or 'the module'} has the routes {tuple(part.routes)} already. "
                "Convert a module once, with all routes; to start again, convert what "
                "export_route returns."
            )
        if isinstance(part, _BatchNorm) and part not in inside:
            inside.update(part.modules())
            found[name] = part
    for name, layer in found.items():
        _check_layer(name, layer)
    return list(found.values())


def _check_layer(name: str, layer: nn.Module) -> None:
    if any(is_lazy(parameter) for parameter in layer.parameters()):
        raise ValueError(
            f"{name or 'the module'} is a {type(layer).__name__}, which has no shape "
            "yet; run one forward pass before the conversion."
        )
    hooks = [key for key, value in vars(layer).items() if "_hooks" in key and value]
    if hooks:
        raise ValueError(
            f"{name or 'the module'} has hooks ({', '.join(hooks)}), of which nobody "
            "knows for which route they are meant; register them after the conversion."
        )


def _replace(module: nn.Module, replacements: dict[int, nn.Module]) -> nn.Module:
    """Put modules in the place of others, wherever these are registered."""
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if id(child) in replacements:
                parent._modules[name] = replacements[id(child)]
    return replacements.get(id(module), module)
