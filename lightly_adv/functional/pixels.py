"""Between images as the model gets them and pixels in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.types import NormalizeStats


def channel_stats(
    like: Tensor, normalize: NormalizeStats | None
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, shaped to broadcast over channels (dim -3).

    Args:
        like: Images of shape (..., C, H, W) that give dtype and device; or volumes
            and videos of shape (B, C, D, H, W).
        normalize: Mean and std per channel, or one of each for all channels.
            Defaults to 0 and 1.

    Returns:
        Two tensors of shape (C, 1, 1), (C, 1, 1, 1) for volumes, or (1, 1, 1) without
        normalisation.

    Raises:
        ValueError: If the number of channels differs from that of `normalize`.

    Examples:
        >>> mean, std = channel_stats(torch.zeros(2, 3, 8, 8), None)
        >>> mean.shape, std.item()
        (torch.Size([1, 1, 1]), 1.0)
    """
    stats = normalize or {"mean": [0.0], "std": [1.0]}
    channels = len(stats["mean"])
    deep = channels > 1 and channel_dim(like, channels) != -3
    shape = (channels, *[1] * (3 if deep else 2))
    # Filled there: a copy from the host would wait for what the device is at.
    mean, std = (
        torch.cat([like.new_full((1,), value) for value in stats[key]]).view(shape)
        for key in ("mean", "std")
    )
    return mean, std


def channel_dim(like: Tensor, channels: int) -> int:
    """Return the dimension that counts channels: -3, or 1 in volumes and videos.

    Args:
        like: Images of shape (..., C, H, W), or volumes of shape (B, C, D, H, W).
        channels: How many channels there should be.

    Raises:
        ValueError: If no such dimension has that many entries.

    Examples:
        >>> channel_dim(torch.zeros(2, 3, 8, 8), 3)
        -3
        >>> channel_dim(torch.zeros(2, 3, 16, 8, 8), 3)
        1
    """
    if like.dim() >= 3 and like.shape[-3] == channels:
        return -3
    if like.dim() == 5 and like.shape[1] == channels:
        return 1
    raise ValueError(
        f"normalize has {channels} channels, but the views have shape "
        f"{tuple(like.shape)}, with channels expected at dimension -3; give mean "
        "and std with one value per channel of the views."
    )


def to_pixels(views: Tensor, normalize: NormalizeStats | None) -> Tensor:
    """Undo a normalisation: `views * std + mean`.

    Args:
        views: Normalised images of shape (..., C, H, W).
        normalize: What was applied to them, None for nothing.

    Returns:
        Pixels of the same shape, in [0, 1] where the images were.

    Examples:
        >>> to_pixels(torch.zeros(1, 1, 1, 1), {"mean": [0.5], "std": [0.2]}).item()
        0.5
    """
    mean, std = channel_stats(views, normalize)
    return views * std + mean


def to_normalized(pixels: Tensor, normalize: NormalizeStats | None) -> Tensor:
    """Apply a normalisation: `(pixels - mean) / std`. Inverse of `to_pixels`.

    Examples:
        >>> to_normalized(torch.ones(1, 1, 1, 1), {"mean": [0.5], "std": [0.25]}).item()
        2.0
    """
    mean, std = channel_stats(pixels, normalize)
    return (pixels - mean) / std


def stats_of_timm(model: object) -> NormalizeStats | None:
    """Return mean and std of the configuration that networks of timm carry.

    Args:
        model: A network of timm; None is returned for any other object, and for a
            configuration without mean and std.
    """
    config = getattr(model, "pretrained_cfg", None) or {}
    if not (config.get("mean") and config.get("std")):
        return None
    mean, std = (tuple(map(float, config[key])) for key in ("mean", "std"))
    return {"mean": mean, "std": std}
