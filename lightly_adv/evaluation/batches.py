"""The batches of an evaluation: images from a loader, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightly_adv.evaluation.encoding import Flags, Values
from lightly_adv.functional import pixels
from lightly_adv.threat_model import ThreatModel
from lightly_adv.types import NormalizeStats


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of an evaluation.

    Args:
        images: Images of shape (B, C, H, W), on the device of the model.
        labels: Class numbers of shape (B,), on the same device.
        index: Number of the batch.
        first: Number of its first image.
        key: Integers that seed all that is drawn for this batch.
    """

    images: Tensor
    labels: Tensor
    index: int
    first: int
    key: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What became of the images of one batch.

    Args:
        flags: Whether each image is correctly classified, bools (B,): "clean" without
            an attack, and by the names of attacks or other changes.
        values: Whatever else is known, by name; one entry per image, or per batch.
    """

    flags: Mapping[str, Flags] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)

    @property
    def robust(self) -> Tensor:
        """Which images are correctly classified under all changes."""
        return torch.stack(list(self.flags.values())).all(dim=0)

    def cpu(self) -> BatchResult:
        """Return the same in the memory of the CPU, floating numbers in float64."""
        return BatchResult(
            {name: flags.cpu() for name, flags in self.flags.items()},
            {
                name: x.cpu().double() if x.is_floating_point() else x.cpu()
                for name, x in self.values.items()
            },
        )


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return what there is about each batch in one tensor per name.

    Examples:
        >>> joined([{"clean": torch.tensor([3])}, {"clean": torch.tensor([5, 1])}])
        {'clean': tensor([3, 5, 1])}
    """
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def unpack(batch: Any) -> tuple[Tensor, Tensor]:
    """Take images and labels from a batch, and leave file names behind.

    Args:
        batch: (images, labels) or (images, labels, filenames), with images of shape
            (B, C, H, W) and labels of shape (B,).

    Raises:
        TypeError: If the batch is anything else.
        ValueError: If the number of images differs from that of labels.

    Examples:
        >>> images, labels = unpack((torch.rand(2, 3, 4, 4), torch.ones(2).long()))
        >>> images.shape
        torch.Size([2, 3, 4, 4])
    """
    if not isinstance(batch, Sequence) or isinstance(batch, str) or len(batch) < 2:
        raise TypeError(
            f"a batch is {describe(batch)}; expected (images, labels) or (images, "
            "labels, filenames). Give the loader a collate_fn that returns one of "
            "these."
        )
    images, labels = batch[0], batch[1]
    if not isinstance(images, Tensor):
        raise TypeError(
            f"the images of a batch are {describe(images)}; expected one tensor of "
            f"shape (B, C, H, W). {_remedy(images)}"
        )
    if not isinstance(labels, Tensor) or labels.dim() != 1 or _is_real(labels):
        raise TypeError(
            f"the labels of a batch are {describe(labels)}; expected a tensor of "
            "class numbers of shape (B,)."
        )
    if len(images) != len(labels):
        raise ValueError(
            f"a batch has {len(images)} images and {len(labels)} labels; expected one "
            "label per image."
        )
    return images, labels


def without_labels(batch: Any) -> tuple[Tensor, Tensor]:
    """Take the images from a batch, with labels that mean nothing.

    Args:
        batch: (images, ...), or images of shape (B, C, H, W) alone.

    Raises:
        TypeError: If the batch is anything else.
    """
    images = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise TypeError(
            f"the images of a batch are a {type(images).__name__}; expected one "
            "tensor of shape (B, C, H, W), first in the batch."
        )
    return images, torch.zeros(len(images), dtype=torch.long)


def first(
    loader: Iterable[Any],
    limit: int | None,
    unpack: Callable[[Any], tuple[Tensor, Tensor]] = unpack,
    *,
    what: str = "the loader",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of the first images of a loader.

    Args:
        loader: Batches.
        limit: Stop after that many images. Defaults to all of them.
        unpack: Takes images and labels from a batch.
        what: The loader in words, for the error.

    Raises:
        TypeError: If a batch is something else than `unpack` takes.
        ValueError: If `limit` is less than 1, or if there is no image.
    """
    if limit is not None and limit < 1:
        raise ValueError(
            f"max_samples={limit} is too small; expected at least 1, or None for all "
            "images."
        )
    count = 0
    for batch in loader:
        left = None if limit is None else limit - count
        images, labels = (each[:left] for each in unpack(batch))
        if len(images):
            yield images, labels
        count += len(images)
        if count == limit:
            return
    if not count:
        raise ValueError(
            f"{what} gave no images; expected at least one batch. Is the data set "
            "empty, smaller than a batch with drop_last=True, or an iterator that is "
            "used up?"
        )


def load(
    loader: Iterable[Any],
    *,
    device: torch.device,
    limit: int | None = None,
    normalize: NormalizeStats | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    unpack: Callable[[Any], tuple[Tensor, Tensor]] = unpack,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixels (B, C, H, W), float32 inside of the bounds, and labels (B,).

    Args:
        loader: Batches (images, labels) or (images, labels, filenames).
        device: Where to put them.
        limit: Stop after that many images.
        normalize: Mean and std that the transform of the loader has normalised with.
        bounds: Smallest and largest valid pixel.
        unpack: Takes images and labels from a batch.

    Raises:
        TypeError: If a batch is something else, or if images are not floating.
        ValueError: If images leave the bounds, if `limit` is less than 1, or if there
            is no image.
    """
    everything = ThreatModel(eps=0.0, normalize=normalize, bounds=bounds)
    for images, labels in first(loader, limit, unpack):
        images, labels = images.to(device), labels.to(device)
        everything.box(images)  # validates them
        # Copies: autograd does not take tensors that were made in inference mode.
        shown = pixels.to_pixels(images.float().clone(), normalize).clamp(*bounds)
        yield shown, labels.long().clone()


def count(loader: Iterable[Any], limit: int | None) -> int | None:
    """Return how many images will come, where the loader tells."""
    sampler = getattr(loader, "sampler", None)
    size = len(sampler) if isinstance(sampler, Sized) else None
    return min((n for n in (size, limit) if n is not None), default=None)


def describe(value: Any) -> str:
    """Return in words what a batch, or a part of one, is."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {list(value)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _is_real(labels: Tensor) -> bool:
    return labels.is_floating_point() or labels.dtype == torch.bool


def _remedy(images: Any) -> str:
    views = isinstance(images, list | tuple) and images
    if not (views and all(isinstance(view, Tensor) for view in images)):
        return "Give the loader a transform and a collate_fn that make one."
    shapes = sorted({tuple(view.shape) for view in images})
    if len(shapes[0]) == 4:
        return "Evaluate with a transform that makes one view."
    if len(shapes) == 1:
        return f"They are of one shape, {shapes[0]}: let the collate_fn stack them."
    return (
        f"They are of the shapes {', '.join(map(str, shapes[:3]))}: let the transform "
        "resize and crop all of them to one size."
    )
