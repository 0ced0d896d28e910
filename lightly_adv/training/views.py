"""Find the images in a batch, and put others in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightly_adv.errors import UnfitBatchError
from lightly_adv.training import image_search, places, view_policy
from lightly_adv.training.places import Path, Place, Stack
from lightly_adv.training.view_policy import ViewPolicy
from lightly_adv.types import NormalizeStats

Step: TypeAlias = Callable[[Any], Any]
"""A training step with all of its arguments given, but for the batch."""


@dataclass(frozen=True)
class SelectedViews:
    """The selected views of one batch, and the way back.

    Args:
        views: The selected views.
        images: All image views of the batch, selected or not.
        left: Which tensors of the shape of images are taken for none, and why.
    """

    views: list[Tensor]
    images: list[Tensor]
    left: dict[Path, str]
    _places: list[Place]
    _batch: Any

    def replace(self, views: Sequence[Tensor]) -> Any:
        """Return the batch with other views in the selected places."""
        new = self._new(views)
        return places.mapped(lambda leaf: new.get(id(leaf), leaf), self._batch)

    def copied(self, views: Sequence[Tensor]) -> Any:
        """Return the same with copies of all tensors, which a step may write into.

        Gradients reach the views through their copies.
        """
        copies = {at: tensor.clone() for at, tensor in self._new(views).items()}

        def copy(tensor: Tensor) -> Tensor:
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.clone()
            return copies[id(tensor)]

        return places.mapped(copy, self._batch)

    def evaluated(self, step: Step, views: Sequence[Tensor]) -> Any:
        """Run a step on other views, where it may write into what it is given."""
        return step(self.copied(views))

    def trained(self, step: Step, views: Sequence[Tensor]) -> Any:
        """Run a step on other views."""
        return step(self.replace(views))

    def without(self, parts: Mapping[Path, set[int]]) -> SelectedViews:
        """Return the same without some of the views that are stacked in one tensor.

        Args:
            parts: Which of the stack at each path.
        """
        kept = [place.without(parts.get(place.path, set())) for place in self._places]
        views = [
            old if new is place else new.view()
            for old, new, place in zip(self.views, kept, self._places, strict=True)
        ]
        return dataclasses.replace(self, views=views, _places=kept)

    def stacks(self) -> dict[int, Stack]:
        """Return the selected views that are stacks of views, by their number."""
        return {
            at: (place.path, place.parts)
            for at, place in enumerate(self._places)
            if place.parts is not None
        }

    def __str__(self) -> str:
        """Say what is perturbed, and what is left alone although it looks alike."""
        text = f"perturbed: {', '.join(map(str, self._places))}"
        for path, why in self.left.items():
            where = "".join(f"[{key!r}]" for key in path)
            text += f"; not batch{where}, which {why}"
        return text

    def _new(self, views: Sequence[Tensor]) -> dict[int, Tensor]:
        new: dict[int, Tensor] = {}
        for place, view in zip(self._places, views, strict=True):
            new |= place.replaced(view)
        return new


def select_views(
    batch: Any,
    *,
    policy: ViewPolicy,
    normalize: NormalizeStats | None,
    known: dict[Path, str] | None = None,
) -> SelectedViews:
    """Select views in a batch of any nesting that Lightning moves to a device.

    That is lists, tuples, dicts and dataclasses, also named ones and subclasses; what
    is in frozen dataclasses and other objects is not looked at.

    An image view is a floating tensor of at least four dimensions whose dimension -3
    has as many entries as `normalize` has channels, and whose height and width are at
    least 4. Without `normalize` it has 3 channels, or 1 if no tensor has 3. Volumes and
    videos (B, C, D, H, W) are views, too. Single images (C, H, W) in lists become one
    view for all samples. In a stack of views (B, V, C, H, W) each has a ball of its
    own. A tensor that the batch holds twice is one view.

    Labels, grids and index lists are none, and stay as they are. Nor are masks and
    other targets, as far as their names or values show it, see
    `image_search.tell_apart`.

    Args:
        batch: What the data loader yields.
        policy: None for every image view, "global" for the largest ones, indices
            into the image views, or a function from the batch to tensors in it. What
            the function returns is perturbed as it is.
        normalize: Mean and std with which the views were normalised, if they were.
        known: What was found in earlier batches; it is added to.

    Raises:
        TypeError: If the images are integers, or `policy` is of another kind.
        ValueError: If there is no such view.

    Examples:
        >>> batch = ([torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)], torch.arange(2))
        >>> selected = select_views(batch, policy="global", normalize=None)
        >>> [view.shape for view in selected.views]
        [torch.Size([2, 3, 8, 8])]
        >>> views, labels = selected.replace([torch.zeros(2, 3, 8, 8)])
        >>> views[0].sum(), labels
        (tensor(0.), tensor([0, 1]))
    """
    view_policy.check_policy(policy)
    found = _without_repeats(places.leaves(batch))
    channels = image_search.channels_of(normalize)
    images, left = _images(found, channels, {} if known is None else known)
    if callable(policy):
        chosen = view_policy.identified(policy(batch), found, images, channels)
    elif images:
        chosen = view_policy.chosen(policy, images)
    else:
        raise _no_images([leaf for _, leaf in found], channels, normalize)
    taken = {id(leaf) for place in chosen for leaf in place.leaves}
    others = [
        place
        for place in images
        if place in chosen or not taken & {id(leaf) for leaf in place.leaves}
    ]
    everything = list(dict.fromkeys([*others, *chosen]))
    views = {place: place.view() for place in everything}
    return SelectedViews(
        [views[place] for place in chosen],
        [views[place] for place in everything],
        left,
        chosen,
        batch,
    )


def _without_repeats(found: Any) -> list[tuple[Path, Tensor]]:
    """A tensor that is there twice is one, at the first place."""
    first: dict[int, tuple[Path, Tensor]] = {}
    for path, leaf in found:
        first.setdefault(id(leaf), (path, leaf))
    return list(first.values())


def _images(
    found: list[tuple[Path, Tensor]],
    channels: tuple[int, ...],
    known: dict[Path, str],
) -> tuple[list[Place], dict[Path, str]]:
    """Return the images, and the reasons of what looks like one and is none."""
    candidates = {count: _candidates(found, count) for count in channels}
    everything = [place for each in candidates.values() for place in each]
    left = image_search.tell_apart(everything, known)
    kept = {
        count: [place for place in each if place.path not in left]
        for count, each in candidates.items()
    }
    by_name = [
        count
        for count, each in kept.items()
        if any(image_search.called_image(place.path) for place in each)
    ]
    for count in by_name or channels:
        if kept[count]:
            return kept[count], left
    return [], left


def _candidates(found: list[tuple[Path, Tensor]], channels: int) -> list[Place]:
    floating = [(path, leaf) for path, leaf in found if leaf.is_floating_point()]
    stacked = [
        _place(path, leaf)
        for path, leaf in floating
        if image_search.has_shape(leaf, channels)
    ]
    volumes = [
        Place(path, (leaf,))
        for path, leaf in floating
        if image_search.is_volume(leaf, channels)
    ]
    if stacked or volumes:
        return stacked or volumes
    return places.samples(floating, lambda leaf: image_search.is_single(leaf, channels))


def _place(path: Path, leaf: Tensor) -> Place:
    parts = tuple(range(leaf.shape[1])) if leaf.dim() == 5 else None
    return Place(path, (leaf,), parts)


def _no_images(
    leaves: list[Tensor], channels: tuple[int, ...], normalize: NormalizeStats | None
) -> Exception:
    shaped = [
        leaf
        for leaf in leaves
        for count in channels
        if image_search.has_shape(leaf, count)
    ]
    if any(leaf.dtype == torch.uint8 for leaf in shaped):
        return TypeError(
            "the images in the batch have dtype torch.uint8; expected floating "
            "tensors. Convert them in the transform, for instance with "
            "v2.ToDtype(torch.float32, scale=True)."
        )
    seen = [f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves]
    return UnfitBatchError(
        f"no image view found in the batch; expected a floating tensor of shape "
        f"(B, ..., C, H, W) with C in {sorted(channels)} and at least "
        f"{image_search.SMALLEST} x {image_search.SMALLEST} pixels, but its tensors "
        f"are {seen or 'none'}. {_other_channels(leaves, normalize)}Pass views= a "
        "function from the batch to the tensors to perturb."
    )


def _other_channels(leaves: list[Tensor], normalize: NormalizeStats | None) -> str:
    counts = {
        leaf.shape[-3]
        for leaf in leaves
        if leaf.is_floating_point() and image_search.has_shape(leaf, leaf.shape[-3:][0])
    }
    if not counts:
        return ""
    count = min(counts)
    instead = "" if normalize is None else f" instead of {len(normalize['mean'])}"
    return (
        f"For images of {count} channels give ThreatModel(normalize=) {count} means "
        f"and stds{instead}; for images that are not normalised "
        f"normalize={{'mean': [0.0] * {count}, 'std': [1.0] * {count}}}. "
    )
