"""From backbone and head to a network that timm creates again from its name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from lightly_adv.batch_norm import routes as routing
from lightly_adv.batch_norm.dual_batch_norm import export_route
from lightly_adv.models import stems as stems  # registers the *_small names

TOLERANCE = 1e-4
"""How far outputs may be from those of backbone and head, relative to their size."""


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration, with new weights."""
    name, names = config["architecture"], config.get("label_names")
    own = {**config["pretrained_cfg"], "architecture": name, "label_names": names}
    network: nn.Module = timm.create_model(
        name, pretrained=False, pretrained_cfg=own, **config["model_args"]
    )
    return network


def plain(backbone: nn.Module, route: str | None) -> nn.Module:
    """Return a backbone with one route for its BatchNorm layers.

    Raises:
        ValueError: If there are routes and none is named, or the other way round.
    """
    layers = routing.routed_layers(backbone)
    if not layers:
        if route is not None:
            raise ValueError(
                f"route={route!r}, but the backbone has no BatchNorm layers with "
                "routes; leave it out."
            )
        return backbone
    if route is None:
        names = ", ".join(map(repr, next(iter(layers.values())).routes))
        raise ValueError(
            f"the BatchNorm layers of the backbone have the routes {names}, which "
            "answer differently; say which one to export with route=."
        )
    return export_route(backbone, route)


def joined(
    backbone: nn.Module, head: nn.Module, config: Mapping[str, Any]
) -> nn.Module:
    """Return the architecture of a backbone, with a head as its classifier.

    Args:
        backbone: A network of timm, without a classifier.
        head: A linear layer.
        config: The configuration of the backbone.

    Raises:
        ValueError: If the head is no such layer, or if timm would create something
            else from the configuration.
    """
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"head is a {type(head).__name__}; expected a torch.nn.Linear, which is "
            "what the classifiers of timm end in. Export the backbone alone."
        )
    arguments = {**config["model_args"], "num_classes": head.out_features}
    network: Any = build({**config, "model_args": arguments}).to(head.weight.dtype)
    classifier = network.get_classifier()
    fits = isinstance(classifier, nn.Linear | nn.Conv2d) and (
        classifier.weight.numel() == head.weight.numel()
        and (classifier.bias is None) == (head.bias is None)
    )
    if not fits:
        raise ValueError(
            f"the head is {head}, but {config['architecture']} of timm ends in "
            f"{classifier}; expected layers of one size. Export the backbone alone."
        )
    name = next(n for n, part in network.named_modules() if part is classifier)
    own = {
        f"{name}.{key}": value.reshape(classifier.state_dict()[key].shape)
        for key, value in head.state_dict().items()
    }
    _load(network, {**backbone.state_dict(), **own})
    found: nn.Module = network
    return found


def check_outputs(
    backbone: nn.Module,
    head: nn.Module | None,
    network: nn.Module,
    config: Mapping[str, Any],
) -> None:
    """Refuse what would not answer as backbone and head do, once it is loaded.

    Args:
        backbone: The backbone.
        head: The layer behind it, if it is exported too.
        network: What is to be written.
        config: The configuration that is written with it.

    Raises:
        ValueError: If timm makes something else of the configuration.
    """
    rebuilt = build(config).to(next(network.parameters()).dtype)
    _load(rebuilt, network.state_dict())
    parts = [backbone] if head is None else [backbone, head]
    original = copy.deepcopy(nn.Sequential(*parts)).cpu()
    generator = torch.Generator().manual_seed(0)
    size = config["pretrained_cfg"]["input_size"]
    like = next(original.parameters())
    images = torch.randn(2, *size, generator=generator).to(like)
    expected, found = (_answers(each, images) for each in (original, rebuilt))
    error = float((found - expected).abs().max() / (1 + expected.abs().max()))
    if not error <= TOLERANCE:
        raise ValueError(
            f"{config['architecture']} as timm creates it answers otherwise than this "
            f"{type(backbone).__name__} (relative difference {error:.2g}): it was "
            "changed after its creation, or its arguments are not known. Pass these as "
            "model_args=, or write the weights alone with save_backbone."
        )


def _answers(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        answers: Tensor = network.eval()(images)
    return answers


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"the weights do not fit {type(network).__name__} as timm creates it: "
            f"{str(error).splitlines()[-1].strip()} Was it changed, or created with "
            "arguments that are to be passed as model_args=?"
        ) from error
