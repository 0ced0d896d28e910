"""Short names of models and images, to tell whether they are still the same."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any

import torch
from torch import Tensor, nn

_PART = 1 << 20
"""How much of a file is read at once, in bytes."""


def of_model(model: nn.Module) -> str:
    """Return a digest of the classes and settings of all modules, and of their state.

    What a module keeps elsewhere, such as a mean in an attribute, is not in it.

    Examples:
        >>> model = nn.Linear(2, 2)
        >>> before = of_model(model)
        >>> with torch.no_grad():
        ...     _ = model.bias.add_(1.0)
        >>> of_model(model) == before
        False
        >>> of_model(nn.LeakyReLU(0.1)) == of_model(nn.LeakyReLU(0.2))
        False
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        # Without its module, which is `__main__` where the class is run as a script,
        # and without the addresses of objects, which differ from run to run.
        settings = re.sub(r" at 0x[0-9a-f]+", "", module.extra_repr())
        digest.update(f"{name} {type(module).__qualname__} {settings}".encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        _add(digest, value)
    return digest.hexdigest()


def of_batch(images: Tensor, labels: Tensor) -> str:
    """Return a digest of images and labels.

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


class Data:
    """A digest of many images and labels, however they are cut into batches.

    Examples:
        >>> images, labels = torch.rand(4, 3, 4, 4), torch.arange(4)
        >>> whole, halves = Data(), Data()
        >>> whole.add(images, labels)
        >>> for index in (slice(2), slice(2, 4)):
        ...     halves.add(images[index], labels[index])
        >>> whole.hexdigest() == halves.hexdigest()
        True
    """

    def __init__(self) -> None:
        self._images = hashlib.sha256()
        self._labels = hashlib.sha256()

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Add a batch."""
        for image in images:
            _add(self._images, image)
        self._labels.update(_bytes(labels.long()))

    def hexdigest(self) -> str:
        """Return the digest of what was added so far."""
        both = self._images.hexdigest() + self._labels.hexdigest()
        return hashlib.sha256(both.encode()).hexdigest()


def of_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if not isinstance(value, Tensor):  # what `get_extra_state` of a module returned
        digest.update(repr(value).encode())
        return
    value = value.detach()
    parts = _parts(value)
    if not parts:
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(_bytes(value))
        return
    shape = "" if value.is_nested else tuple(value.shape)
    digest.update(f"{value.dtype} {shape} {value.layout}".encode())
    for part in parts:
        _add(digest, part)


def _parts(value: Tensor) -> list[Any]:
    """Return what a tensor consists of that is no plain block of numbers."""
    if value.is_nested:
        return list(value.unbind())
    if value.layout == torch.sparse_coo:
        value = value.coalesce()
        return [value.indices(), value.values()]
    if value.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [value.crow_indices(), value.col_indices(), value.values()]
    if value.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [value.ccol_indices(), value.row_indices(), value.values()]
    if value.is_quantized:
        if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            return [value.int_repr(), value.q_scale(), value.q_zero_point()]
        scales, zeros = value.q_per_channel_scales(), value.q_per_channel_zero_points()
        return [value.int_repr(), scales, zeros, value.q_per_channel_axis()]
    return []


def _bytes(value: Tensor) -> Any:
    if value.is_meta:
        return b""  # there are no numbers
    value = value.detach().cpu().resolve_conj().resolve_neg()
    return value.contiguous().flatten().view(torch.uint8).numpy()
