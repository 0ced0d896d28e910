"""Encoders to begin from: by name, from a run, or from an exported folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import nn

from lightly_adv.cli import networks
from lightly_adv.models import (
    Normalize,
    create_backbone,
    load_backbone,
    normalization_of,
)
from lightly_adv.models.export import load_exported
from lightly_adv.models.export.folder import CONFIG
from lightly_adv.types import NormalizeStats


@dataclass(frozen=True)
class ReadyEncoder:
    """A network of timm without its classifier, with its weights.

    Args:
        name: What it is called.
        backbone: The network, in eval mode.
        normalize: Mean and std that its images need; None where it takes pixels.
        image_size: Height and width of its images.
    """

    name: str
    backbone: nn.Module
    normalize: NormalizeStats | None
    image_size: int


def collect(
    path: Path | None, name: str | None, weights: Path | None, size: int | None
) -> ReadyEncoder:
    """Return the encoder that a command line names.

    Args:
        path: A run, a checkpoint in it, or an exported folder.
        name: In its place, a name that timm knows.
        weights: A file of the weights that belong to the name. Defaults to those that
            timm downloads.
        size: Height and width of the images. Defaults to those it was made for.

    Raises:
        ValueError: If there is none, or both, if there are no weights, or if the
            network does not take images of that size.
        FileNotFoundError: If a file is missing.
    """
    if (path is None) == (name is None):
        given = "neither is" if path is None else f"{path} and {name} are"
        raise ValueError(
            f"expected the folder of a run or an exported one, or --backbone NAME; "
            f"{given} given."
        )
    if name is not None:
        return _by_name(name, weights, size)
    assert path is not None
    networks.check_is_path(path)
    if (path / CONFIG).is_file() and not (path / "config.yaml").is_file():
        return _exported(path, size)
    return _of_run(path, size)


def _by_name(name: str, weights: Path | None, size: int | None) -> ReadyEncoder:
    known = timm.is_model(name)
    if known and weights is None and not timm.is_model_pretrained(name):
        raise ValueError(
            f"timm has no weights for --backbone {name}, and a random encoder has "
            "nothing to keep; give a file with --weights."
        )
    arguments: dict[str, Any] = {"pretrained": weights is None}
    own = _native_size(timm.get_pretrained_cfg(name)) if known else None
    if size is not None and own is not None and size != own[0] and own[1]:
        arguments["dynamic_img_size"] = True
    try:
        backbone = create_backbone(name, **arguments)
    except TypeError as error:
        raise ValueError(
            f"--backbone {name} takes images of {own} only ({error}); leave out "
            "--image_size."
        ) from error
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights of --backbone {name} cannot be downloaded ({error}); give a "
            "file with --weights."
        ) from error
    if weights is not None:
        load_backbone(backbone, weights)
    size = size or (own[0] if own else 224)
    check_size(backbone, size)
    return ReadyEncoder(name, backbone.eval(), normalization_of(backbone), size)


def _exported(path: Path, size: int | None) -> ReadyEncoder:
    found = load_exported(path)
    network: Any = found.model
    network.reset_classifier(0)
    size = size or int(network.pretrained_cfg["input_size"][-1])
    check_size(network, size)
    return ReadyEncoder(path.resolve().name, network, found.normalize, size)


def _of_run(path: Path, size: int | None) -> ReadyEncoder:
    network = networks.restore(path, [])
    module: Any = network.module
    layer = module.normalize
    stats: NormalizeStats | None = None
    if isinstance(layer, Normalize):
        stats = {
            "mean": layer.mean.flatten().tolist(),
            "std": layer.std.flatten().tolist(),
        }
    size = size or int(getattr(network.data, "image_size", 32))
    return ReadyEncoder(network.name, module.backbone.eval(), stats, size)


def check_size(backbone: nn.Module, size: int) -> None:
    """Refuse a size that the patches of a ViT do not fit.

    Raises:
        ValueError: If they do not.

    Examples:
        >>> import timm
        >>> vit = timm.create_model("test_vit", dynamic_img_size=True)
        >>> check_size(vit, 100)
        Traceback (most recent call last):
        ValueError: images of 100 x 100 do not fit patches of 16 x 16; use 96 or 112.
    """
    patch = patch_size(backbone)
    if patch is not None and size % patch:
        below = size // patch * patch
        sizes = f"{below} or {below + patch}" if below else str(patch)
        raise ValueError(
            f"images of {size} x {size} do not fit patches of {patch} x {patch}; "
            f"use {sizes}."
        )


def patch_size(backbone: nn.Module) -> int | None:
    """Return the height of the patches that images are cut into, if they are."""
    embed: Any = getattr(backbone, "patch_embed", None)
    found = getattr(embed, "patch_size", None)
    return int(found[0]) if isinstance(found, tuple) else None


def _native_size(config: Any) -> tuple[int, bool] | None:
    """Return the size that a network was made for, and whether it takes no other."""
    if config is None:
        return None
    return int(config.input_size[-1]), bool(config.fixed_input_size)
