"""Write a network and what belongs to it into a folder."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.batch_norm import routes as routing
from lightly_adv.batch_norm.dual_batch_norm import export_route
from lightly_adv.models.checkpoints import save_backbone
from lightly_adv.models.export import card, folder
from lightly_adv.models.normalization import NormalizeChoice, resolve_normalize

TOLERANCE = 1e-4
"""How far outputs may be from those of backbone and head, relative to their size."""


def export_model(
    backbone: nn.Module,
    path: str | os.PathLike[str],
    *,
    head: nn.Module | None = None,
    normalize: NormalizeChoice = "auto",
    image_size: int | None = None,
    class_names: Sequence[str] = (),
    route: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    reports: Sequence[Mapping[str, Any]] = (),
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a backbone, or backbone and head, into a folder that timm loads.

    It gets `model.safetensors`, `config.json` and the card `README.md`, all or none of
    them. `load_exported` reads it back, and so do
    `timm.create_model("local-dir:PATH", pretrained=True)` and, from
    `PATH/model.safetensors`, `timm.create_model(..., checkpoint_path=...)`. It can be
    uploaded to a hub as it is.

    What is written takes normalised images; mean and std are in the configuration and
    on the card.

    Args:
        backbone: A network that timm has made, from images to features.
        path: The folder. It is made; if it is there it has to be empty.
        head: The linear layer behind it. None writes the backbone alone.
        normalize: Mean and std in front of the backbone. "auto" takes those of its
            configuration; None is for plain pixels.
        image_size: Height and width of the images it was trained on. Defaults to those
            of its configuration.
        class_names: Names of the classes, in order.
        route: Where BatchNorm layers have several routes, the one to write.
        model_args: Arguments that the architecture is created with, beyond those that
            timm keeps itself.
        reports: What `to_json` of reports gave, read from JSON, for the card.
        facts: Further lines for the card: where the network comes from.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder is not empty.
        ValueError: If the backbone is not of timm, if it has routes and none is named,
            if the head does not fit, or if timm would build another network from the
            configuration.

    Examples:
        >>> from lightly_adv.models import create_backbone
        >>> backbone, head = create_backbone("resnet8_tiny"), nn.Linear(128, 10)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     written = export_model(backbone, f"{place}/mine", head=head)
        ...     sorted(file.name for file in written.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
    """
    path = Path(path)
    folder.check_free(path)
    if head is not None and not isinstance(head, nn.Linear):
        raise ValueError(
            f"head is a {type(head).__name__}; expected a torch.nn.Linear, which is "
            "what the classifiers of timm end in. Export the backbone alone."
        )
    normalize = resolve_normalize(normalize, backbone)
    backbone = _on_one_route(backbone, route)
    config = folder.configuration(
        backbone,
        num_classes=None if head is None else head.out_features,
        normalize=normalize,
        image_size=image_size,
        class_names=class_names,
        model_args=model_args or {},
    )
    network = _rebuilt(backbone, head, config)
    parts = [backbone] if head is None else [backbone, head]
    _check_outputs(nn.Sequential(*parts), network, config)
    text = card.text(path.name, config, network, reports=reports, facts=facts or {})
    files = {folder.CONFIG: json.dumps(config, indent=2) + "\n", folder.CARD: text}
    _write(path, network, files)
    return path


def _on_one_route(backbone: nn.Module, route: str | None) -> nn.Module:
    """Return a backbone with one route for its BatchNorm layers."""
    layers = routing.routed_layers(backbone)
    if layers and route is not None:
        return export_route(backbone, route)
    if layers:
        names = ", ".join(map(repr, next(iter(layers.values())).routes))
        raise ValueError(
            f"the BatchNorm layers of the backbone have the routes {names}, which "
            "answer differently; say which one to export with route=."
        )
    if route is not None:
        raise ValueError(
            f"route={route!r}, but the backbone has no BatchNorm layers with "
            "routes; leave it out."
        )
    return backbone


def _rebuilt(
    backbone: nn.Module, head: nn.Linear | None, config: Mapping[str, Any]
) -> nn.Module:
    """Return what timm makes of the configuration, with the weights of both.

    Raises:
        ValueError: If they do not fit.
    """
    network = folder.build(config).to(next(backbone.parameters()))
    state = backbone.state_dict()
    if head is not None:
        state |= _classifier_state(network, head, config["architecture"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"the weights do not fit {type(network).__name__} as timm creates it: "
            f"{str(error).splitlines()[-1].strip()} Was it changed, or created with "
            "arguments that are to be passed as model_args=?"
        ) from error
    return network.eval()


def _classifier_state(
    network: Any, head: nn.Linear, architecture: str
) -> dict[str, Tensor]:
    """Return the weights of a head under the names of the classifier of a network."""
    classifier = network.get_classifier()
    fits = isinstance(classifier, nn.Linear | nn.Conv2d) and (
        classifier.weight.numel() == head.weight.numel()
        and (classifier.bias is None) == (head.bias is None)
    )
    if not fits:
        raise ValueError(
            f"the head is {head}, but {architecture} of timm ends in {classifier}; "
            "expected layers of one size. Export the backbone alone."
        )
    name = next(n for n, part in network.named_modules() if part is classifier)
    return {
        f"{name}.{key}": value.reshape(classifier.state_dict()[key].shape)
        for key, value in head.state_dict().items()
    }


def _check_outputs(
    original: nn.Sequential, network: nn.Module, config: Mapping[str, Any]
) -> None:
    """Refuse a network that does not answer as the original does."""
    original = copy.deepcopy(original).cpu().eval()
    generator = torch.Generator().manual_seed(0)
    size = config["pretrained_cfg"]["input_size"]
    images = torch.randn(2, *size, generator=generator)
    images = images.to(next(original.parameters()))
    with torch.no_grad():
        expected, found = original(images), copy.deepcopy(network).cpu()(images)
    error = float((found - expected).abs().max() / (1 + expected.abs().max()))
    if not error <= TOLERANCE:
        raise ValueError(
            f"{config['architecture']} as timm creates it answers otherwise than this "
            f"{type(original[0]).__name__} (relative difference {error:.2g}): it was "
            "changed after its creation, or its arguments are not known. Pass these as "
            "model_args=, or write the weights alone with save_backbone."
        )


def _write(path: Path, network: nn.Module, files: Mapping[str, str]) -> None:
    """Write the folder so that it is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as part:
        whole = Path(part, "whole")
        save_backbone(network, whole / folder.WEIGHTS)
        for name, content in files.items():
            (whole / name).write_text(content, encoding="utf-8")
        folder.check_free(path)
        if path.exists():
            path.rmdir()
        whole.rename(path)
