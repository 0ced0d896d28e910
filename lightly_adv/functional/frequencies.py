"""Parts of images by their frequency."""

from __future__ import annotations

import torch
from torch import Tensor


def high_pass(images: Tensor, radius: float) -> Tensor:
    """Return images without their low frequencies.

    - [0] When Does Contrastive Learning Preserve Adversarial Robustness from
      Pretraining to Finetuning?, 2021, https://arxiv.org/abs/2111.01124

    Args:
        images: Images of shape (..., H, W).
        radius: Frequencies nearer than this to the middle of the spectrum are left
            out, in periods per image. 0 leaves out none.

    Returns:
        Tensor of the shape of `images`, float32 or wider, not clipped to [0, 1].

    Raises:
        ValueError: If the radius is negative.

    Examples:
        >>> bool(high_pass(torch.full((1, 4, 4), 0.5), 1).abs().max() < 1e-6)
        True
    """
    if radius < 0:
        raise ValueError(f"radius={radius}; expected 0 or more periods per image.")
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    height, width = images.shape[-2:]
    rows = torch.fft.fftfreq(height, 1 / height, device=images.device)
    columns = torch.fft.fftfreq(width, 1 / width, device=images.device)
    kept = torch.hypot(rows[:, None], columns[None, :]) >= radius
    passed: Tensor = torch.fft.ifft2(torch.fft.fft2(wide) * kept).real
    return passed
