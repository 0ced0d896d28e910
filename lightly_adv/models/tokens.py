"""Which features of a backbone are read: pooled, or those of tokens or places."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor, nn

from lightly_adv.functional import validation
from lightly_adv.models import backbones

Tokens: TypeAlias = Literal["pooled", "class", "patch", "all", "map"]
"""What the backbone returns; of a ViT its class token, its patch tokens or all of
them; of a convolutional network the places of its last map."""


def check_tokens(backbone: nn.Module, tokens: str) -> None:
    """Check that a backbone has the tokens that are asked for.

    Args:
        backbone: A network of timm or, for "pooled", any from images to features.
        tokens: Which of its features to read.

    Raises:
        ValueError: If the backbone does not have them, or if the word is unknown.

    Examples:
        >>> check_tokens(nn.Flatten(), "pooled")
    """
    validation.check_choice("tokens", tokens, get_args(Tokens))
    if tokens == "pooled":
        return
    name = type(backbone).__name__
    if not hasattr(backbone, "forward_features"):
        raise ValueError(
            f"tokens={tokens!r}, but this {name} has no forward_features as networks "
            "of timm do; use 'pooled'."
        )
    prefix = getattr(backbone, "num_prefix_tokens", None)
    if tokens == "map" and prefix is not None:
        raise ValueError(
            f"tokens='map', but this {name} is made of tokens; use 'patch' or 'all'."
        )
    if tokens != "map" and prefix is None:
        raise ValueError(
            f"tokens={tokens!r}, but this {name} has no tokens; use 'pooled' or 'map'."
        )
    if tokens == "class" and not prefix:
        raise ValueError(
            f"tokens='class', but this {name} has no class token; use 'pooled' or "
            "'patch'."
        )


def read_features(backbone: nn.Module, images: Tensor, tokens: Tokens) -> Tensor:
    """Return features (B, D), or (B, T, D) of tokens or places.

    Args:
        backbone: A backbone that `check_tokens` has passed.
        images: Images (B, C, H, W), normalised.
        tokens: Which of its features to read.

    Raises:
        TypeError: If what comes out is not one tensor.

    Examples:
        >>> import timm, torch
        >>> vit = timm.create_model("test_vit", num_classes=0)
        >>> read_features(vit, torch.rand(2, 3, 160, 160), "patch").shape
        torch.Size([2, 100, 64])
    """
    if tokens == "pooled":
        pooled = backbones.one_tensor(backbone(images), backbone)
        return pooled.flatten(1) if pooled.dim() == 4 else pooled
    network: Any = backbone
    features: Tensor = backbones.one_tensor(network.forward_features(images), backbone)
    if tokens == "map":
        return _places(features, last=str(getattr(network, "output_fmt", "NCHW")))
    if tokens == "class":
        return features[:, 0]
    return features if tokens == "all" else features[:, network.num_prefix_tokens :]


def _places(features: Tensor, *, last: str) -> Tensor:
    """Return a map (B, C, H, W), or (B, H, W, C), as (B, H * W, C)."""
    if last == "NHWC":
        return features.flatten(1, 2)
    return features.flatten(2).mT
