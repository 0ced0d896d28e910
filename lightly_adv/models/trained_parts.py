"""Which part of a backbone is trained: all, some blocks, norms, or low-rank updates."""

from __future__ import annotations

import re

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lightly_adv.models import lora, stages

CHOICES = "'all', 'norm', 'first:K' or 'last:K' blocks, or 'lora:R' of rank R"

_COUNTED = re.compile(r"(first|last|lora):([1-9]\d*)")


def train_only(backbone: nn.Module, trainable: str) -> None:
    """Let only a part of a backbone train; the rest takes no gradient.

    Args:
        backbone: The backbone, which is changed: "lora:R" adds parameters, see
            `lora.add_lora`.
        trainable: "all"; "norm" for the normalisation layers; "first:K" or "last:K"
            for blocks of a ViT or stages of a convolutional network, with what stands
            before the first or behind the last of them; "lora:R" for low-rank updates
            of all linear and convolution layers.

    Raises:
        ValueError: If it is something else, if the backbone has no such part, or if it
            does not tell its blocks.

    Examples:
        >>> import timm
        >>> backbone = timm.create_model("resnet18", num_classes=0)
        >>> train_only(backbone, "last:1")
        >>> backbone.layer4.training, backbone.layer3[0].conv1.weight.requires_grad
        (True, False)
    """
    counted = _COUNTED.fullmatch(trainable)
    if trainable == "all":
        return
    if counted is not None and counted[1] == "lora":
        lora.add_lora(backbone, int(counted[2]))
        return
    if counted is not None:
        take = stages.first_blocks if counted[1] == "first" else stages.last_blocks
        names = take(backbone, int(counted[2]))
    elif trainable == "norm":
        names = _of_norms(backbone)
    else:
        raise ValueError(f"trainable={trainable!r} is unknown; use {CHOICES}.")
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name in names)


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer normalises, by its kind or by the name of its class."""
    kinds = (_NormBase, nn.LayerNorm, nn.GroupNorm)
    return isinstance(layer, kinds) or "Norm" in type(layer).__name__


def keeps_statistics(layer: nn.Module) -> bool:
    """Whether a layer keeps running statistics, as BatchNorm does."""
    return isinstance(layer, _NormBase) and layer.track_running_stats


def _of_norms(backbone: nn.Module) -> set[str]:
    names = {
        f"{name}.{own}" if name else own
        for name, layer in backbone.named_modules()
        if is_norm(layer)
        for own, _ in layer.named_parameters(recurse=False)
    }
    if not names:
        raise ValueError(
            f"trainable='norm', but this {type(backbone).__name__} has no "
            "normalisation layer with weights; use 'all' or 'lora:8'."
        )
    return names
