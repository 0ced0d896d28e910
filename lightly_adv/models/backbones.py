"""Backbones by name or as objects: from images to one feature vector each."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import timm
import torch
from torch import Tensor, nn

from lightly_adv.functional import validation
from lightly_adv.isolation import modes
from lightly_adv.models import stems as stems  # registers the *_small names


def create_backbone(name_or_module: str | nn.Module, **kwargs: Any) -> nn.Module:
    """Return a network from images (B, 3, H, W) to features (B, D).

    Nothing is downloaded unless `pretrained=True` is given.

    Args:
        name_or_module: A name that timm knows, among them `resnet18_small` and the
            others of `lightly_adv.models.stems`; or a module, which is returned as
            it is.
        **kwargs: For `timm.create_model`, for names only. `num_classes` is 0 unless
            given, so that the network ends in pooled features.

    Raises:
        ValueError: If timm does not know the name, with the near ones; if the name
            points to a hub without `pretrained=True`; or if a module still ends in
            the classifier that timm gave it.
        TypeError: If keyword arguments come with a module.

    Examples:
        >>> backbone = create_backbone("resnet8_tiny")
        >>> backbone(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 128])
    """
    if isinstance(name_or_module, nn.Module):
        return _checked_module(name_or_module, kwargs)
    _check_name(name_or_module, pretrained=bool(kwargs.get("pretrained")))
    arguments = {"num_classes": 0, "pretrained": False, **kwargs}
    backbone: nn.Module = timm.create_model(name_or_module, **arguments)
    return backbone


def feature_dim(backbone: nn.Module, *, image_size: int = 32) -> int:
    """Return D, the number of features that a backbone gives for each image.

    Read from the attributes that timm sets (`head_hidden_size`, `num_features`).
    Without them one black image is passed through the network in eval mode, which
    leaves modes and running statistics as they were; it has as many channels as the
    first convolution takes.

    Args:
        backbone: Network from (B, C, H, W) to (B, D).
        image_size: H and W of that image.

    Raises:
        TypeError: If what comes out is not one tensor.
        ValueError: If it does not have the shape (B, D).

    Examples:
        >>> feature_dim(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)),
        ...             image_size=8)
        5
    """
    for attribute in ("head_hidden_size", "num_features"):
        value = getattr(backbone, attribute, None)
        if isinstance(value, int):
            return value
    return _probe(backbone, image_size)


def _probe(backbone: nn.Module, image_size: int) -> int:
    like = next(backbone.parameters(), torch.empty(0))
    image = like.new_zeros(1, _channels(backbone), image_size, image_size)
    with torch.no_grad(), modes.evaluation_mode(backbone):
        features = one_tensor(backbone(image), backbone)
    if features.dim() != 2:
        raise ValueError(
            f"{type(backbone).__name__} maps {tuple(image.shape)} to "
            f"{tuple(features.shape)}; expected (B, D). End it with pooling and "
            "torch.nn.Flatten()."
        )
    return int(features.shape[1])


def encoder_of(module: nn.Module) -> nn.Module:
    """Return the `backbone` of a module, behind its `normalize` where it has one.

    Args:
        module: A module such as those in `lightly_adv.methods`. Without `normalize` its
            backbone takes plain pixels.

    Returns:
        A module from images (B, C, H, W) in [0, 1] to features.

    Raises:
        ValueError: If there is no backbone.

    Examples:
        >>> module = nn.Module()
        >>> module.backbone = nn.Flatten()
        >>> encoder_of(module)(torch.rand(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """
    backbone = getattr(module, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f"{type(module).__name__} has no module named backbone; give it one, which "
            "maps images to features."
        )
    normalize = getattr(module, "normalize", None)
    if not isinstance(normalize, nn.Module):
        normalize = nn.Identity()
    return nn.Sequential(normalize, backbone)


def one_tensor(found: Any, backbone: nn.Module) -> Tensor:
    """Return what a backbone returned, if it is one tensor.

    Raises:
        TypeError: If it is a list of feature maps, a dict or anything else.

    Examples:
        >>> one_tensor(torch.rand(2, 5), nn.Identity()).shape
        torch.Size([2, 5])
    """
    if isinstance(found, Tensor):
        return found
    kind = type(found).__name__
    inside = f" of {len(found)}" if isinstance(found, Sized) else ""
    raise TypeError(
        f"{type(backbone).__name__} returned a {kind}{inside}; expected one tensor of "
        "features (B, D). Wrap it in a module that returns one entry alone, pooled "
        "where it is a map: features[-1].mean(dim=(2, 3))."
    )


def _channels(backbone: nn.Module) -> int:
    """Return how many channels the first convolution takes; 3 without one."""
    parts = backbone.modules()
    return next((x.in_channels for x in parts if isinstance(x, nn.Conv2d)), 3)


def _checked_module(module: nn.Module, kwargs: dict[str, Any]) -> nn.Module:
    if kwargs:
        raise TypeError(
            f"{sorted(kwargs)} came with a {type(module).__name__}; keyword arguments "
            "go with the name of a backbone, a module is used as it is."
        )
    num_classes = getattr(module, "num_classes", 0)
    if hasattr(module, "reset_classifier") and num_classes:
        raise ValueError(
            f"this {type(module).__name__} ends in a classifier of {num_classes} "
            "classes, but a backbone gives features; call "
            "backbone.reset_classifier(0) first."
        )
    return module


def _check_name(name: str, *, pretrained: bool) -> None:
    source, separator, _ = name.partition(":")
    if separator:
        _check_source(name, source, pretrained=pretrained)
    elif not timm.is_model(name):
        known = timm.list_models()
        hint = validation.did_you_mean(name, known)
        raise ValueError(
            f"Unknown backbone {name!r}. {hint}timm.list_models() shows all "
            f"{len(known)} names; a torch.nn.Module works too."
        )


def _check_source(name: str, source: str, *, pretrained: bool) -> None:
    if source != "local-dir" and not pretrained:
        raise ValueError(
            f"{name!r} is fetched from a hub, which happens only with "
            "pretrained=True; pass that, or a name of timm.list_models()."
        )
