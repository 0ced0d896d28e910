"""The stages of a backbone: the last one, and the features of earlier ones."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from timm.models import group_parameters
from torch import Tensor, nn

from lightly_adv.models import backbones

_STEM = re.compile(r"$|layer0|(features\.)?(act|bn|conv|norm|patch_embed|stem)")
"""Names of the first feature map, where it comes from the layers before the stages."""


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
    return tuple(_largest_modules(backbone, last_blocks(backbone, 1)))


def first_blocks(backbone: nn.Module, count: int) -> set[str]:
    """Return the parameters of the first blocks, and of what stands before them.

    Args:
        backbone: A network of timm, see `last_stage` for what its blocks are.
        count: How many blocks.

    Raises:
        ValueError: If the backbone has fewer blocks, or does not tell them.

    Examples:
        >>> import timm
        >>> names = first_blocks(timm.create_model("resnet18", num_classes=0), 1)
        >>> sorted({name.split(".")[0] for name in names})
        ['bn1', 'conv1', 'layer1']
    """
    return _blocks(backbone, count, backwards=False)


def last_blocks(backbone: nn.Module, count: int) -> set[str]:
    """Return the parameters of the last blocks, and of what stands behind them.

    See `first_blocks`.
    """
    return _blocks(backbone, count, backwards=True)


def _blocks(backbone: nn.Module, count: int, *, backwards: bool) -> set[str]:
    patterns = _block_patterns(backbone)
    groups = group_parameters(backbone, backbone.group_matcher(coarse=True))  # type: ignore[operator]
    names: set[str] = set()
    blocks = 0
    for group in sorted(groups, reverse=backwards):
        names.update(groups[group])
        blocks += any(re.match(p, name) for p in patterns for name in groups[group])
        if blocks == count:
            return names
    raise ValueError(
        f"{count} blocks of this {type(backbone).__name__}, which has {blocks}; "
        f"expected 1 to {blocks}."
    )


class FeatureLevel(NamedTuple):
    """Where features are taken from, and how many there are.

    Attributes:
        number: Number of the feature map as timm counts them; None for the features of
            the whole backbone.
        width: Number of features.
    """

    number: int | None
    width: int


def feature_level(backbone: nn.Module, stages: int | None) -> FeatureLevel:
    """Return where the features of the first stages of a backbone are found.

    Args:
        backbone: A network of timm, or, for `stages=None`, any module from images
            (B, 3, H, W) to features (B, D).
        stages: How many stages to run, the stem not counted; None for all of the
            backbone.

    Raises:
        ValueError: If the backbone does not have that many stages, or does not tell.

    Examples:
        >>> import timm
        >>> feature_level(timm.create_model("resnet18", num_classes=0), stages=3)
        FeatureLevel(number=3, width=256)
    """
    if stages is None:
        return FeatureLevel(None, backbones.feature_dim(backbone))
    info: Any = getattr(backbone, "feature_info", None)
    if not info or not hasattr(backbone, "forward_intermediates"):
        raise ValueError(
            f"{type(backbone).__name__} does not tell its stages: it has no "
            "feature_info and forward_intermediates as networks of timm do. Use "
            "stages=None, which takes the whole backbone, or a ResNet of timm."
        )
    levels = [
        FeatureLevel(number, each["num_chs"])
        for number, each in enumerate(info)
        if number > 0 or not _STEM.match(each["module"])
    ]
    if not 1 <= stages <= len(levels):
        raise ValueError(
            f"stages={stages}, but this {type(backbone).__name__} has {len(levels)}; "
            f"choose 1 to {len(levels)}, or None for the whole backbone."
        )
    return levels[stages - 1]


def level_features(backbone: nn.Module, images: Tensor, level: FeatureLevel) -> Tensor:
    """Return features (B, D) of images (B, 3, H, W), averaged over their places.

    Stages behind the level are not run, and take no gradient. (DDP wants to be told:
    `strategy="ddp_find_unused_parameters_true"`.)
    """
    if level.number is None:
        features: Tensor = backbone(images)
        return features
    run: Any = backbone.forward_intermediates
    maps: list[Tensor] = run(
        images, indices=[level.number], stop_early=True, intermediates_only=True
    )
    return maps[0].mean(dim=(-2, -1))


def _block_patterns(backbone: nn.Module) -> list[str]:
    matcher = getattr(backbone, "group_matcher", None)
    groups: Any = matcher(coarse=True) if callable(matcher) else None
    blocks = groups.get("blocks") if isinstance(groups, dict) else None
    if not blocks:
        raise ValueError(
            f"{type(backbone).__name__} does not tell its stages: it has no "
            "group_matcher as networks of timm do. Use a backbone of timm, or, in "
            "fine-tuning, trainable='head' or 'all'."
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
