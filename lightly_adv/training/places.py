"""Where tensors lie in a batch of any nesting, and how some become one view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

Path: TypeAlias = tuple[Any, ...]
"""Keys, names of fields and indices that lead to a tensor; "*" for any sample."""


Stack: TypeAlias = tuple[Path, tuple[int, ...]]
"""Where a stack of views lies, and which of them are selected."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where one view lies in a batch.

    Args:
        path: The way to it.
        leaves: The tensor of the batch that it is or is a part of; or the images
            (C, H, W) of samples that it is stacked from.
        parts: Which views of a stack (B, V, C, H, W) it consists of; None for a view
            that is a tensor of its own, or made of single images.
    """

    path: Path
    leaves: tuple[Tensor, ...]
    parts: tuple[int, ...] | None = None

    @property
    def single(self) -> bool:
        """Whether it consists of single images."""
        return "*" in self.path

    def view(self) -> Tensor:
        """Return the view, of shape (B, ..., C, H, W).

        The views of a stack become samples: each has a ball of its own.
        """
        if self.single:
            return torch.stack(self.leaves)
        (leaf,) = self.leaves
        if self.parts is None:
            return leaf
        if len(self.parts) < leaf.shape[1]:
            leaf = torch.stack([leaf[:, at] for at in self.parts], dim=1)
        return leaf.flatten(0, 1)

    def replaced(self, view: Tensor) -> dict[int, Tensor]:
        """Return what takes the place of each tensor, by its id, for another view."""
        if self.single:
            both = zip(self.leaves, view.unbind(0), strict=True)
            return {id(leaf): _like(leaf, row) for leaf, row in both}
        (leaf,) = self.leaves
        if self.parts is None:
            return {id(leaf): view}
        new = view.reshape(len(leaf), len(self.parts), *view.shape[1:])
        if len(self.parts) < leaf.shape[1]:
            slices = list(leaf.unbind(1))
            for place, at in enumerate(self.parts):
                slices[at] = new[:, place]
            new = torch.stack(slices, dim=1)
        return {id(leaf): _like(leaf, new)}

    def without(self, parts: set[int]) -> Place:
        """Return the same without some of the views of a stack."""
        if self.parts is None or not parts & set(self.parts):
            return self
        kept = tuple(at for at in self.parts if at not in parts)
        return Place(self.path, self.leaves, kept)

    def __str__(self) -> str:
        """Return it as it would be written, with the shape."""
        where = "".join(f"[{key if key == '*' else repr(key)}]" for key in self.path)
        shape = tuple(self.leaves[0].shape)
        count = f"{len(self.leaves)} x " if self.single else ""
        if self.parts is not None:
            count = f"a stack of {len(self.parts)} views, "
        return f"batch{where} {count}{shape}"


def _like(leaf: Tensor, values: Tensor) -> Tensor:
    """Return the values with the strides of a tensor: kernels may depend on them."""
    if values.stride() == leaf.stride():
        return values
    return torch.empty_like(leaf).copy_(values)


def leaves(batch: Any) -> Iterator[tuple[Path, Tensor]]:
    """Yield the tensors of a batch, with the way to each.

    Looked at is what Lightning moves to a device: sequences, mappings and dataclasses,
    but for frozen ones.

    Examples:
        >>> batch = {"image": torch.zeros(2), "more": [torch.ones(3), "a.png"]}
        >>> [path for path, _ in leaves(batch)]
        [('image',), ('more', 0)]
    """
    if isinstance(batch, Tensor):
        yield (), batch
        return
    for key, value in _items(batch):
        for path, leaf in leaves(value):
            yield (key, *path), leaf


def _items(batch: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(batch, Mapping):
        yield from batch.items()
    elif isinstance(batch, tuple) and hasattr(batch, "_fields"):
        yield from zip(batch._fields, batch, strict=True)
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        yield from enumerate(batch)
    elif is_dataclass(batch) and not isinstance(batch, type | _Frozen):
        for each in fields(batch):
            yield each.name, getattr(batch, each.name, None)


def mapped(change: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """Return a batch with other tensors in it."""

    def changed(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, Tensor) else leaf

    return apply_to_collection(batch, (Tensor, _Frozen), changed)


class _FrozenType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        parameters = getattr(type(value), "__dataclass_params__", None)
        return bool(getattr(parameters, "frozen", False))


class _Frozen(metaclass=_FrozenType):
    """Dataclasses that nothing can be put into, and that stay as they are."""


def samples(
    found: Sequence[tuple[Path, Tensor]], fits: Callable[[Tensor], bool]
) -> list[Place]:
    """Put single images (C, H, W) together to views, as they lie in their samples.

    Batches that are not stacked are lists of images, of tuples with the views of a
    sample, or of tuples of such tuples. The longest list on the way counts samples;
    images at the same place of all samples are one view, if they are of one size.

    Args:
        found: The tensors of a batch.
        fits: Tells tensors that are such images.
    """
    shaped = [(path, leaf) for path, leaf in found if fits(leaf)]
    lengths: dict[tuple[int, Path], set[Any]] = {}
    for path, _ in shaped:
        for level, key in enumerate(path):
            if type(key) is int:
                lengths.setdefault((len(path), path[:level]), set()).add(key)
    views: dict[Any, list[Tensor]] = {}
    for path, leaf in shaped:
        at = _level_of_samples(path, lengths)
        if at is not None:
            pattern = (*path[:at], "*", *path[at + 1 :])
            views.setdefault((pattern, leaf.shape, leaf.dtype), []).append(leaf)
    return [
        Place(pattern, tuple({id(leaf): leaf for leaf in stack}.values()))
        for (pattern, _, _), stack in views.items()
    ]


def _level_of_samples(
    path: Path, lengths: Mapping[tuple[int, Path], set[Any]]
) -> int | None:
    counts = {
        level: len(lengths[len(path), path[:level]])
        for level, key in enumerate(path)
        if type(key) is int
    }
    if not counts:
        return None
    return max(counts, key=lambda level: (counts[level], -level))


def words(key: Any) -> list[str]:
    """Return the words of a name, in lower case and without numbers.

    Examples:
        >>> words("pixelValues_0"), words(3)
        (['pixel', 'values'], [])
    """
    if not isinstance(key, str):
        return []
    return [each.lower() for each in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", key)]
