"""Normalisation as the first layer of a model, so that its input stays in pixels."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from lightly.transforms import utils as lightly_utils
from torch import Tensor, nn

from lightly_adv import types
from lightly_adv.functional import pixels

IMAGENET_NORMALIZE: types.NormalizeStats = {
    "mean": tuple(lightly_utils.IMAGENET_NORMALIZE["mean"]),
    "std": tuple(lightly_utils.IMAGENET_NORMALIZE["std"]),
}
"""Lightly's own default, which is also that of most backbones in timm."""

NormalizeChoice: TypeAlias = types.NormalizeStats | Literal["auto"] | None
"""Mean and std, "auto" for those that the backbone was made for, None for neither."""


def normalization_of(backbone: nn.Module) -> types.NormalizeStats:
    """Return the mean and std that a backbone was made for.

    timm writes them into the configuration that its networks carry; most are those of
    ImageNet, but many ViTs and the BiT ResNets have 0.5. For any other network it is
    `IMAGENET_NORMALIZE`.

    Args:
        backbone: A network of timm, or any other.

    Examples:
        >>> import timm
        >>> normalization_of(timm.create_model("test_vit"))
        {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}
        >>> normalization_of(nn.Flatten()) == IMAGENET_NORMALIZE
        True
    """
    return pixels.stats_of_timm(backbone) or IMAGENET_NORMALIZE


def resolve_normalize(
    normalize: NormalizeChoice, backbone: nn.Module
) -> types.NormalizeStats | None:
    """Return mean and std as they are, or those of the backbone for "auto".

    Raises:
        ValueError: If it is another word.
    """
    if not isinstance(normalize, str):
        return normalize
    if normalize != "auto":
        raise ValueError(
            f"normalize={normalize!r} is unknown; use 'auto', None, or mean and std "
            "such as lightly.transforms.utils.IMAGENET_NORMALIZE."
        )
    return normalization_of(backbone)


def create_normalize(normalize: NormalizeChoice, backbone: nn.Module) -> nn.Module:
    """Return the layer in front of a backbone: `Normalize`, or the identity for None.

    Raises:
        ValueError: If `normalize` is another word than "auto", or no mean and std.

    Examples:
        >>> create_normalize(None, nn.Flatten())
        Identity()
    """
    stats = resolve_normalize(normalize, backbone)
    return Normalize(stats) if stats else nn.Identity()


def on_pixels(
    model: nn.Module,
    normalize: types.NormalizeStats | None,
    *,
    device: torch.device | None = None,
) -> nn.Module:
    """Return a module that takes pixels in [0, 1] and normalises them for a model.

    Args:
        model: Takes normalised images.
        normalize: Mean and std of these; None where pixels stay as they are.
        device: Where mean and std are to be. Defaults to the CPU.

    Examples:
        >>> stats = {"mean": [0.5], "std": [0.25]}
        >>> on_pixels(nn.Flatten(), stats)(torch.ones(1, 1, 1, 1)).item()
        2.0
    """
    if normalize is None:
        return model
    return nn.Sequential(Normalize(normalize).to(device), model)


class Normalize(nn.Module):
    """Map pixels in [0, 1] to `(pixels - mean) / std`, channel by channel.

    Mean and std move with the module but are not part of its `state_dict`, so that a
    checkpoint fits with and without this layer.

    Args:
        normalize: Mean and std per channel, in Lightly's format, or one of each for
            all channels.

    Raises:
        ValueError: If mean and std differ in length, or a std is not positive.

    Examples:
        >>> layer = Normalize({"mean": [0.5], "std": [0.25]})
        >>> layer(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    stats: types.NormalizeStats
    """Mean and std as they were given."""

    def __init__(self, normalize: types.NormalizeStats) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(list(values), dtype=torch.get_default_dtype())[:, None, None]
            for values in (normalize["mean"], normalize["std"])
        )
        if mean.shape != std.shape or not (std > 0).all():
            raise ValueError(
                f"normalize={normalize} needs one mean and one positive std per "
                "channel, such as lightly.transforms.utils.IMAGENET_NORMALIZE."
            )
        self.stats = {key: tuple(normalize[key]) for key in ("mean", "std")}
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images of shape (..., C, H, W).

        Raises:
            ValueError: If the images do not have one channel per mean.
        """
        channels = images.shape[-3] if images.dim() >= 3 else None
        if channels is None or len(self.mean) not in (1, channels):
            raise ValueError(
                f"images of shape {tuple(images.shape)} do not have "
                f"{len(self.mean)} channels at dimension -3; give mean and std with "
                "one value per channel."
            )
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show mean and std where the module is printed."""
        mean, std = (stat.flatten().tolist() for stat in (self.mean, self.std))
        return f"mean={[round(m, 4) for m in mean]}, std={[round(s, 4) for s in std]}"
