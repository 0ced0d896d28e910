"""Random crops of the padded image and horizontal flips, a whole batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightly_adv.functional import sampling


class CropFlip(NamedTuple):
    """Where each image is cropped, and which ones are flipped; each of shape (B,)."""

    top: Tensor
    left: Tensor
    flipped: Tensor


def draw_crop_flip(
    batch_size: int,
    *,
    padding: int,
    flip_probability: float = 0.5,
    generator: Generator | None = None,
) -> CropFlip:
    """Draw where to crop and whether to flip, independently for each image.

    Args:
        batch_size: Number of images.
        padding: Pixels on each side; the crop starts at 0 to `2 * padding`.
        flip_probability: Share of the images that are flipped.
        generator: Where the randomness comes from; torch's global generator if None.

    Examples:
        >>> drawn = draw_crop_flip(5, padding=4)
        >>> drawn.top.shape, bool((drawn.left <= 8).all())
        (torch.Size([5]), True)
    """
    device = sampling.source_device(generator)
    top, left = torch.randint(
        0, 2 * padding + 1, (2, batch_size), generator=generator, device=device
    )
    chance = torch.rand(batch_size, generator=generator, device=device)
    return CropFlip(top, left, chance < flip_probability)


def crop_flip(images: Tensor, drawn: CropFlip, *, padding: int) -> Tensor:
    """Pad images with black, crop them to their size, and flip those drawn.

    Args:
        images: Images of shape (B, C, H, W), any dtype.
        drawn: What `draw_crop_flip` returned for the same padding.
        padding: Pixels on each side.

    Returns:
        Tensor of the shape and dtype of `images`.

    Examples:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> top, left, flipped = torch.tensor([[0], [1], [1]])
        >>> crop_flip(image, CropFlip(top, left, flipped.bool()), padding=1)
        tensor([[[[0, 0],
                  [2, 1]]]])
    """
    channels, height, width = images.shape[1:]
    top, left, flipped = (part.to(images.device)[:, None] for part in drawn)
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    columns = left + torch.where(flipped, columns.flip(0), columns)
    padded = F.pad(images, [padding] * 4)
    index = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]
    index = index.flatten(1)[:, None].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(images.shape)
