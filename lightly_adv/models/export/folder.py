"""The files of an exported network, and the configuration that timm reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from torch import nn

from lightly_adv.models import stems as stems  # registers the *_small names
from lightly_adv.types import NormalizeStats

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""Names of the files; the first two are those that timm looks for."""

_KEPT = ("interpolation", "crop_mode", "first_conv", "classifier", "fixed_input_size")


def configuration(
    network: nn.Module,
    *,
    num_classes: int | None = None,
    normalize: NormalizeStats | None,
    image_size: int | None,
    class_names: Sequence[str],
    model_args: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what `timm.create_model("local-dir:...")` has to know.

    Args:
        network: A network of timm.
        num_classes: Number of classes. Defaults to that of the network.
        normalize: Mean and std that its images need; None for plain pixels.
        image_size: Height and width of the images it was trained on. Defaults to those
            of its configuration.
        class_names: Names of the classes, in order.
        model_args: What else the architecture has to be created with.

    Raises:
        ValueError: If the network is not of timm, if the names do not fit the classes,
            or if an argument of the architecture cannot be written as JSON.
    """
    own = _own_configuration(network)
    arguments = {**getattr(network, "_model_args", {}), **model_args}
    channels, height, width = _input_size(own, arguments, image_size)
    classes = network.num_classes if num_classes is None else num_classes
    if class_names and len(class_names) != classes:
        raise ValueError(
            f"there are {len(class_names)} class_names for {classes} classes; expected "
            "one for each, and none for a backbone alone."
        )
    content = {
        "architecture": own["architecture"],
        "num_classes": classes,
        "num_features": network.num_features,
        "model_args": {**arguments, "num_classes": classes},
        "pretrained_cfg": {
            **{key: own[key] for key in _KEPT if own.get(key) is not None},
            **_statistics(normalize, channels),
            "input_size": [channels, height, width],
            # Images are shown whole, as in training and evaluation.
            "crop_pct": 1.0,
            "custom_load": False,
            "num_classes": classes,
        },
    }
    if class_names:
        content["label_names"] = list(class_names)
    _check_arguments(content["model_args"])
    return content


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return the network of a configuration, with new weights."""
    name, names = config["architecture"], config.get("label_names")
    own = {**config["pretrained_cfg"], "architecture": name, "label_names": names}
    network: nn.Module = timm.create_model(
        name, pretrained=False, pretrained_cfg=own, **config["model_args"]
    )
    return network


def _own_configuration(network: nn.Module) -> Mapping[str, Any]:
    own = getattr(network, "pretrained_cfg", None) or {}
    if not own.get("architecture") or not own.get("input_size"):
        raise ValueError(
            f"{type(network).__name__} has no configuration of timm, so that timm "
            "could not load it; export what timm.create_model or create_backbone has "
            "made, or write the weights alone with "
            "lightly_adv.models.save_backbone(backbone, path)."
        )
    found: Mapping[str, Any] = own
    return found


def _input_size(
    own: Mapping[str, Any], model_args: Mapping[str, Any], image_size: int | None
) -> tuple[int, int, int]:
    channels, *sides = own["input_size"]
    # A network that takes one size only was created for it.
    wanted = model_args.get("img_size")
    if wanted is None and not own.get("fixed_input_size"):
        wanted = image_size
    if wanted is not None:
        sides = [wanted] * 2 if isinstance(wanted, int) else wanted
    height, width = sides
    return model_args.get("in_chans", channels), height, width


def _statistics(
    normalize: NormalizeStats | None, channels: int
) -> dict[str, list[float]]:
    if normalize is None:
        return {"mean": [0.0] * channels, "std": [1.0] * channels}
    return {key: [float(v) for v in normalize[key]] for key in ("mean", "std")}


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for key, value in arguments.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ValueError(
                f"the backbone was created with {key}={value!r}, which has no place in "
                f"a JSON file; pass model_args={{{key!r}: ...}} with numbers, words or "
                "lists that say the same."
            ) from error


def normalization(config: Mapping[str, Any]) -> NormalizeStats | None:
    """Return mean and std of a configuration; None where pixels stay as they are."""
    found = {
        key: tuple(map(float, config["pretrained_cfg"][key])) for key in ("mean", "std")
    }
    plain = not any(found["mean"]) and set(found["std"]) == {1.0}
    return None if plain else found


def check_free(folder: Path) -> None:
    """Refuse a folder in which something would be overwritten.

    Raises:
        FileExistsError: If it is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} exists and is not an empty folder; choose another one."
        )
