"""What gradients in half precision and tensors of inference mode need."""

from __future__ import annotations

import torch
from torch import Tensor

FP16_SCALE = 2.0**12
"""Scale of losses in fp16, where small input gradients underflow to zero."""


def is_fp16(like: Tensor) -> bool:
    """Whether gradients are taken in fp16, where some overflow or underflow."""
    kind = like.device.type
    known = torch.amp.is_autocast_available(kind)
    if not (known and torch.is_autocast_enabled(kind)):
        return like.dtype == torch.float16
    return torch.get_autocast_dtype(kind) == torch.float16


def loss_scale(like: Tensor) -> float:
    """Return what to multiply a loss by before its gradient is taken.

    Args:
        like: An input of the network, whose device and dtype count.

    Examples:
        >>> loss_scale(torch.zeros(1)), loss_scale(torch.zeros(1).half())
        (1.0, 4096.0)
    """
    return FP16_SCALE if is_fp16(like) else 1.0


def normal_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor that autograd can save, which it refuses for inference tensors.

    Examples:
        >>> with torch.inference_mode():
        ...     made = torch.zeros(1)
        >>> made.is_inference(), normal_tensor(made).is_inference()
        (True, False)
    """
    return tensor.clone() if tensor.is_inference() else tensor


def working(tensor: Tensor) -> Tensor:
    """Return a tensor in the precision of perturbations: float32, or float64 as it is.

    Examples:
        >>> working(torch.zeros(1).half()).dtype
        torch.float32
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()
