"""What augmentations of a batch have in common: numbers are drawn, then applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor


class Operation(Protocol):
    """One augmentation, of all images of a batch at once.

    `apply` waits for nothing on the device: it reads no value of a tensor and selects
    images by `torch.where`, never by a mask.
    """

    def draw(self, images: Tensor, generator: Generator | None = None) -> Any:
        """Draw the parameters of each image, on the device of the images.

        Args:
            images: Images of shape (B, C, H, W).
            generator: Where the randomness comes from, on the same device. Defaults to
                the global generator of that device.
        """

    def apply(self, images: Tensor, drawn: Any) -> Tensor:
        """Return images (B, C, H', W') with what was drawn for them."""


class Deterministic:
    """An operation without random parameters."""

    def draw(self, images: Tensor, generator: Generator | None = None) -> None:
        """Draw nothing."""


class Applied(NamedTuple):
    """Which images are changed, (B,), and the parameters drawn for all of them."""

    chosen: Tensor
    drawn: Any


@dataclass(frozen=True)
class RandomApply:
    """Apply an operation that keeps the shape to a share of the images.

    Args:
        operation: The operation.
        p: Probability that an image is changed.

    Examples:
        >>> from lightly_adv.transforms import HorizontalFlip
        >>> flip, images = RandomApply(HorizontalFlip(), p=0.5), torch.rand(4, 3, 8, 8)
        >>> drawn = flip.draw(images)
        >>> drawn.chosen.shape, flip.apply(images, drawn).shape
        (torch.Size([4]), torch.Size([4, 3, 8, 8]))
    """

    operation: Operation
    p: float

    def draw(self, images: Tensor, generator: Generator | None = None) -> Applied:
        """Draw which images are changed, and the parameters of the operation."""
        chosen = uniform(images, generator=generator) < self.p
        return Applied(chosen, self.operation.draw(images, generator))

    def apply(self, images: Tensor, drawn: Applied) -> Tensor:
        """Return the images, those chosen with the operation applied."""
        changed = self.operation.apply(images, drawn.drawn)
        return torch.where(per_image(drawn.chosen), changed, images)


@dataclass(frozen=True)
class Compose:
    """Apply several operations, one after the other.

    Args:
        operations: The operations.

    Examples:
        >>> from lightly_adv.transforms import HorizontalFlip, RandomCrop
        >>> flip = RandomApply(HorizontalFlip(), p=0.5)
        >>> Compose((RandomCrop(padding=4), flip))(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 3, 32, 32])
    """

    operations: tuple[Operation, ...]

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw and apply each operation to images of shape (B, C, H, W)."""
        for operation in self.operations:
            images = operation.apply(images, operation.draw(images, generator))
        return images


def check_generator(generator: Generator | None, images: Tensor) -> None:
    """Check that a generator is where the images are.

    Raises:
        ValueError: If it is on a device of another kind.
    """
    if generator is not None and generator.device.type != images.device.type:
        raise ValueError(
            f"the generator is on {generator.device}, the images are on "
            f"{images.device}; use torch.Generator({images.device.type!r})."
        )


def uniform(
    images: Tensor,
    *shape: int,
    low: float = 0.0,
    high: float = 1.0,
    generator: Generator | None = None,
) -> Tensor:
    """Draw numbers of shape (B, *shape) from [low, high), on the device of the images.

    Raises:
        ValueError: If the generator is on a device of another kind.
    """
    check_generator(generator, images)
    drawn = torch.rand(len(images), *shape, generator=generator, device=images.device)
    return drawn * (high - low) + low


def per_image(values: Tensor) -> Tensor:
    """Shape one value per image, (B,), so that it broadcasts over (B, C, H, W)."""
    return values[:, None, None, None]
