"""Read an exported network back, without running anything from its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

from lightly_adv import json_files
from lightly_adv.json_files import Need
from lightly_adv.models import normalization
from lightly_adv.models.checkpoints import LoadReport, load_backbone
from lightly_adv.models.export import folder
from lightly_adv.types import NormalizeStats

FORBIDDEN = {"checkpoint_path", "pretrained", "pretrained_cfg", "cache_dir"}
"""Arguments with which a configuration would make timm read other files."""


@dataclass(frozen=True)
class ExportedModel:
    """A network from a folder."""

    model: nn.Module
    """The network, in eval mode; takes normalised images."""

    normalize: NormalizeStats | None
    """Mean and std of these; None where pixels stay as they are."""

    class_names: tuple[str, ...]
    """Names of the classes, in order, if they are known."""

    report: LoadReport
    """The keys that were loaded: all of them."""

    def on_pixels(self) -> nn.Module:
        """Return a module that takes pixels in [0, 1] and normalises them itself."""
        return normalization.on_pixels(self.model, self.normalize).eval()


def load_exported(path: str | os.PathLike[str]) -> ExportedModel:
    """Load what `export_model` wrote.

    Only `config.json` and `model.safetensors` are read, neither of which can run code;
    pickles are not opened. Every key of the file has to be one of the network, and the
    other way round.

    Args:
        path: The folder.

    Raises:
        FileNotFoundError: If one of the two files is missing.
        ValueError: If one of them is damaged, if timm does not know the architecture,
            or if the weights are those of another network.

    Examples:
        >>> import tempfile
        >>> from lightly_adv.models import create_backbone
        >>> from lightly_adv.models.export import export_model
        >>> with tempfile.TemporaryDirectory() as place:
        ...     written = export_model(create_backbone("resnet8_tiny"), f"{place}/mine")
        ...     print(load_exported(written).report)
        54 of 54 tensors loaded
    """
    path = Path(path)
    weights = path / folder.WEIGHTS
    config = _read_config(path / folder.CONFIG)
    if not weights.is_file():
        others = sorted(each.name for each in path.glob("*.bin"))
        hint = f" {others[0]} is a pickle, which is not opened." if others else ""
        raise FileNotFoundError(f"there is no {weights}.{hint}")
    network = _build(config, path / folder.CONFIG)
    report = load_backbone(network, weights, prefix="")
    if report.unexpected:
        raise ValueError(
            f"{weights} holds {len(report.unexpected)} tensors that "
            f"{config['architecture']} does not have, such as "
            f"{report.unexpected[0]!r}; it is of another network than config.json."
        )
    names = tuple(map(str, config.get("label_names") or ()))
    return ExportedModel(network.eval(), folder.normalization(config), names, report)


def _read_config(path: Path) -> dict[str, Any]:
    return json_files.read(
        path,
        _NEEDS,
        what="the configuration of an exported network",
        remedy="Give a folder that export_model, or lightly-adv export, has written.",
    )


def _is_object(part: Any) -> bool:
    return isinstance(part, dict)


def _has_statistics(part: Any) -> bool:
    return json_files.has(part, "mean", "std") and all(
        json_files.is_list(part[key], json_files.is_number) and part[key]
        for key in ("mean", "std")
    )


def _are_names(part: Any) -> bool:
    return part is None or json_files.is_list(part, json_files.is_text)


_NEEDS = {
    "architecture": Need(json_files.is_text, "the name of a network of timm"),
    "model_args": Need(_is_object, "an object"),
    "pretrained_cfg": Need(_has_statistics, "mean and std as lists of numbers"),
    "label_names": Need(_are_names, "a list of texts"),
}
"""The parts of a configuration that are read."""


def _build(config: Mapping[str, Any], path: Path) -> nn.Module:
    name, arguments = config["architecture"], config["model_args"]
    if ":" in name or not timm.is_model(name):
        raise ValueError(
            f"{path} names the architecture {name!r}, which timm does not know; "
            "install or import the package that registers it."
        )
    forbidden = sorted(FORBIDDEN & arguments.keys())
    if forbidden:
        raise ValueError(
            f"{path} has {forbidden} among its model_args, which would read other "
            "files; remove them if you trust it."
        )
    try:
        return folder.build(config)
    except Exception as error:
        raise ValueError(
            f"timm cannot create {name} with the model_args of {path} "
            f"({type(error).__name__}: {error})."
        ) from error
