"""Finding the last stage of a backbone."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from timm.models import group_parameters
from torch import nn


def last_stage(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of the submodules that make up the last stage.

    Stages are what timm's `group_matcher` calls blocks: `layer4` of a ResNet,
    `stages.3` of a ConvNeXt, the last block of a ViT. The layers behind it, such as a
    final norm, belong to it.

    Args:
        backbone: A network of timm, or one with a `group_matcher` in timm's manner.

    Raises:
        ValueError: If the backbone does not tell its stages.

    Examples:
        >>> import timm
        >>> last_stage(timm.create_model("resnet18", num_classes=0))
        ('layer4',)
        >>> last_stage(timm.create_model("convnext_atto", num_classes=0))
        ('stages.3', 'head')
    """
    patterns = _block_patterns(backbone)
    groups = group_parameters(backbone, backbone.group_matcher(coarse=True))  # type: ignore[operator]
    names: set[str] = set()
    for group in sorted(groups, reverse=True):
        names.update(groups[group])
        if any(re.match(pattern, name) for pattern in patterns for name in names):
            break
    return tuple(_largest_modules(backbone, names))


def _block_patterns(backbone: nn.Module) -> list[str]:
    matcher = getattr(backbone, "group_matcher", None)
    groups: Any = matcher(coarse=True) if callable(matcher) else None
    blocks = groups.get("blocks") if isinstance(groups, dict) else None
    if not blocks:
        raise ValueError(
            f"{type(backbone).__name__} does not tell its stages: it has no "
            "group_matcher as networks of timm do. Use trainable='head' or 'all', or a "
            "backbone of timm."
        )
    if isinstance(blocks, str):
        return [blocks]
    return [pattern for pattern, suffix in blocks if suffix is None]


def _largest_modules(backbone: nn.Module, names: Collection[str]) -> list[str]:
    """Return the modules all of whose parameters are named, without those inside."""
    found: list[str] = []
    for name, module in backbone.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        own = [f"{name}.{each}" for each, _ in module.named_parameters()]
        if name and own and not inside and set(own) <= set(names):
            found.append(name)
    return found
