"""Short names of models and pictures, to tell whether they are still the same."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn


def of_model(model: nn.Module) -> str:
    """Return a digest of the class of a module and of its state.

    Examples:
        >>> model = nn.Linear(2, 2)
        >>> before = of_model(model)
        >>> with torch.no_grad():
        ...     _ = model.bias.add_(1.0)
        >>> of_model(model) == before
        False
    """
    # Without its module, which is `__main__` where the class is run as a script.
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        _add(digest, value)
    return digest.hexdigest()


def of_batch(images: Tensor, labels: Tensor) -> str:
    """Return a digest of pictures and labels.

    Examples:
        >>> images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
        >>> of_batch(images, labels) == of_batch(images.clone(), labels.clone())
        True
        >>> of_batch(images, labels) == of_batch(images.flip(0), labels)
        False
    """
    digest = hashlib.sha256()
    _add(digest, images)
    _add(digest, labels.long())
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if not isinstance(value, Tensor):  # what `get_extra_state` of a module returned
        digest.update(repr(value).encode())
        return
    digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
    flat = value.detach().cpu().contiguous().flatten()
    digest.update(flat.view(torch.uint8).numpy())
