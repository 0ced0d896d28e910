"""Stratified splits and subsets of images, fixed by a seed.

Subsets are sorted indices. Each function draws from a generator of its own, never from
the global one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def split(labels: Tensor, *, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split off a fraction of every class.

    Each class gives at least one image, unless it has only one or fraction is 0.

    Args:
        labels: Class of each image, shape (N,).
        fraction: Share that is split off, 0 <= fraction < 1.
        seed: Seed of the choice.

    Returns:
        Indices of the rest, and of what was split off.

    Examples:
        >>> rest, held_out = split(torch.arange(20) % 2, fraction=0.2, seed=0)
        >>> len(rest), (held_out % 2).bincount()
        (16, tensor([2, 2]))
    """
    rest, held_out = [], []
    for members in _shuffled_classes(labels, seed):
        count = max(1, round(fraction * len(members))) if fraction > 0 else 0
        count = min(count, len(members) - 1)
        held_out.append(members[:count])
        rest.append(members[count:])
    return _sorted(rest), _sorted(held_out)


def subsample(count: int, *, fraction: float, seed: int) -> Tensor:
    """Pick a fraction of the images, at least one, regardless of their classes.

    With the same seed a larger fraction contains the smaller one.

    Args:
        count: Number of images.
        fraction: Share that is picked, 0 < fraction <= 1.
        seed: Seed of the choice.

    Examples:
        >>> subsample(20, fraction=0.1, seed=0).shape
        torch.Size([2])
    """
    if fraction == 1:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    return order[: max(1, round(fraction * count))].sort().values


def subsample_classes(labels: Tensor, *, fraction: float, seed: int) -> Tensor:
    """Pick a fraction of every class, at least one image of each.

    With the same seed a larger fraction contains the smaller one.

    Examples:
        >>> subsample_classes(torch.arange(20) % 2, fraction=0.01, seed=0).shape
        torch.Size([2])
    """
    picked = [
        members[: max(1, round(fraction * len(members)))]
        for members in _shuffled_classes(labels, seed)
    ]
    return _sorted(picked)


def pick_balanced(labels: Tensor, *, count: int, seed: int) -> Tensor:
    """Pick `count` images, the same number of every class.

    Where the classes do not divide `count`, the first ones give one more. With the
    same seed a larger count contains the smaller one.

    Raises:
        ValueError: If `count` is less than the number of classes, or if a class does
            not have enough images.

    Examples:
        >>> picked = pick_balanced(torch.arange(20) % 2, count=6, seed=0)
        >>> (picked % 2).bincount()
        tensor([3, 3])
    """
    classes = _shuffled_classes(labels, seed)
    share, extra = divmod(count, len(classes))
    if share < 1:
        raise ValueError(
            f"num_labelled={count} is less than the {len(classes)} classes; each "
            "class needs at least one label."
        )
    picked = []
    for position, members in enumerate(classes):
        wanted = share + (position < extra)
        if wanted > len(members):
            raise ValueError(
                f"num_labelled={count} asks for {wanted} images of each class, but "
                f"class {int(labels[members[0]])} has {len(members)} to train on; use "
                "fewer, or labelled_fraction."
            )
        picked.append(members[:wanted])
    return _sorted(picked)


def interleave_classes(labels: Tensor) -> Tensor:
    """Return an order of all images in which the classes alternate.

    The first n images contain each class in proportion to its size, up to one image.
    The order is deterministic; the images of a class keep theirs.

    Args:
        labels: Class of each image, shape (N,).

    Examples:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1])
        >>> labels[interleave_classes(labels)]
        tensor([0, 1, 0, 0, 1, 0])
    """
    counts = labels.bincount()
    by_class = labels.argsort(stable=True)
    classes = labels[by_class]
    ranks = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[classes]
    shares = (ranks + 0.5) / counts[classes]
    return by_class[shares.argsort(stable=True)]


def _shuffled_classes(labels: Tensor, seed: int) -> list[Tensor]:
    """Return the indices of each class that occurs, in an order fixed by the seed."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    _, counts = torch.unique(labels, return_counts=True)
    return list(torch.split(by_class, counts.tolist()))


def _sorted(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts).sort().values
