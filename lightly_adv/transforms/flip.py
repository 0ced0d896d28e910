"""Mirror images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightly_adv.transforms.operation import Deterministic


@dataclass(frozen=True)
class HorizontalFlip(Deterministic):
    """Swap left and right."""

    def apply(self, images: Tensor, drawn: None = None) -> Tensor:
        """Return flipped images."""
        return images.flip(-1)


@dataclass(frozen=True)
class VerticalFlip(Deterministic):
    """Swap top and bottom."""

    def apply(self, images: Tensor, drawn: None = None) -> Tensor:
        """Return flipped images."""
        return images.flip(-2)
