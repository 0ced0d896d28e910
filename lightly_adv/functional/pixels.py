"""Between pictures as the model gets them and pixels in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from lightly_adv.types import Normalize


def channel_stats(like: Tensor, normalize: Normalize | None) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, shaped to broadcast over channels (dim -3).

    Args:
        like: Pictures of shape (..., C, H, W) that give dtype and device.
        normalize: Mean and std per channel; None stands for 0 and 1.

    Returns:
        Two tensors of shape (C, 1, 1), or (1, 1, 1) without normalisation.

    Raises:
        ValueError: If the number of channels differs from that of `normalize`.

    Examples:
        >>> mean, std = channel_stats(torch.zeros(2, 3, 8, 8), None)
        >>> mean.shape, std.item()
        (torch.Size([1, 1, 1]), 1.0)
    """
    if normalize is None:
        stats = torch.tensor([[0.0], [1.0]], dtype=like.dtype, device=like.device)
    else:
        both = [list(normalize["mean"]), list(normalize["std"])]
        stats = torch.tensor(both, dtype=like.dtype, device=like.device)
        _check_channels(like, stats.shape[1])
    mean, std = stats[..., None, None]
    return mean, std


def to_pixels(views: Tensor, normalize: Normalize | None) -> Tensor:
    """Undo a normalisation: `views * std + mean`.

    Args:
        views: Normalised pictures of shape (..., C, H, W).
        normalize: What was applied to them, None for nothing.

    Returns:
        Pixels of the same shape, in [0, 1] where the pictures were.

    Examples:
        >>> to_pixels(torch.zeros(1, 1, 1, 1), {"mean": [0.5], "std": [0.2]}).item()
        0.5
    """
    mean, std = channel_stats(views, normalize)
    return views * std + mean


def to_normalized(pixels: Tensor, normalize: Normalize | None) -> Tensor:
    """Apply a normalisation: `(pixels - mean) / std`. Inverse of `to_pixels`.

    Examples:
        >>> to_normalized(torch.ones(1, 1, 1, 1), {"mean": [0.5], "std": [0.25]}).item()
        2.0
    """
    mean, std = channel_stats(pixels, normalize)
    return (pixels - mean) / std


def _check_channels(like: Tensor, channels: int) -> None:
    if like.dim() < 3 or like.shape[-3] != channels:
        raise ValueError(
            f"normalize has {channels} channels, but the views have shape "
            f"{tuple(like.shape)}, with channels expected at dimension -3; give mean "
            "and std with one value per channel of the views."
        )
