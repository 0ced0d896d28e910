"""Write a network and what belongs to it into a folder."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lightly_adv.models.checkpoints import save_backbone
from lightly_adv.models.export import card, folder, networks
from lightly_adv.models.normalization import NormalizeChoice, resolve_normalize


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
    normalize = resolve_normalize(normalize, backbone)
    backbone = networks.plain(backbone, route)
    configured = functools.partial(
        folder.configuration,
        normalize=normalize,
        image_size=image_size,
        class_names=class_names,
        model_args={**getattr(backbone, "_model_args", {}), **(model_args or {})},
    )
    config = configured(backbone)
    network = backbone if head is None else networks.joined(backbone, head, config)
    config = configured(network)
    _check_names(class_names, config["num_classes"])
    networks.check_outputs(backbone, head, network, config)
    text = card.text(path.name, config, network, reports=reports, facts=facts or {})
    files = {folder.CONFIG: json.dumps(config, indent=2) + "\n", folder.CARD: text}
    _write(path, network, files)
    return path


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


def _check_names(names: Sequence[str], classes: int) -> None:
    if names and len(names) != classes:
        raise ValueError(
            f"there are {len(names)} class_names for {classes} classes; expected one "
            "for each, and none for a backbone alone."
        )
