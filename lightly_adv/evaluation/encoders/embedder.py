"""An encoder whose output is looked at before it is used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightly_adv.evaluation import classification


class Embedder(nn.Module):
    """Maps images to embeddings (B, D), or says why it cannot.

    Maps of one pixel, (B, D, 1, 1), as a ResNet without its last layer returns them,
    are flattened.

    Args:
        encoder: Maps images of shape (B, C, H, W) to embeddings.

    Examples:
        >>> embedder = Embedder(nn.Flatten())
        >>> embedder(torch.rand(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, D), in float32, of images (B, C, H, W).

        Raises:
            TypeError: If the encoder returns no tensor, or does not take float32.
            ValueError: If what it returns has another shape, or is not finite.
        """
        return _checked(classification.call(self.encoder, images), count=len(images))

    def check_gradient(self, images: Tensor) -> None:
        """Check that a gradient goes through the encoder.

        Raises:
            ValueError: If it does not.
        """
        with torch.enable_grad():
            found = self(images[:1].detach().clone().requires_grad_())
        if not found.requires_grad:
            raise ValueError(
                "no gradient goes through the encoder, so it cannot be attacked: is it "
                "run under torch.no_grad() or detached, as in Lightly's "
                "LinearClassifier and KNNClassifier? Give the network inside, such as "
                "model.backbone."
            )


def _checked(found: Any, *, count: int) -> Tensor:
    if not isinstance(found, Tensor):
        raise TypeError(
            f"the encoder returned a {type(found).__name__}; expected one tensor of "
            "embeddings (B, D). Wrap it in a module that returns that part alone."
        )
    if found.dim() == 4 and found.shape[2:] == (1, 1):
        found = found.flatten(1)
    if found.dim() != 2 or len(found) != count:
        raise ValueError(
            f"the encoder returned shape {tuple(found.shape)} for {count} images; "
            f"expected embeddings of shape ({count}, D). {_remedy(found)}"
        )
    if not found.isfinite().all():
        raise ValueError(
            "the embeddings hold NaN or infinity; expected finite numbers. Look at the "
            "weights of the encoder: has its training diverged?"
        )
    embeddings: Tensor = found.float()
    return embeddings


def _remedy(found: Tensor) -> str:
    if found.dim() == 4:
        return (
            "These are maps; end it with pooling: torch.nn.Sequential(encoder, "
            "torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())."
        )
    if found.dim() == 3:
        return (
            "These are tokens; wrap it in a module that returns the class token, "
            "tokens[:, 0], or their mean."
        )
    return "Wrap it in a module that returns one vector per image."
