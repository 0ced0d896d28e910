"""Which tensors of a batch are images, and which are masks, maps and the like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightly_adv.training.places import Path, Place, words
from lightly_adv.types import NormalizeStats

SMALLEST = 4
"""Height and width, in pixels, from which on a tensor can be an image."""

CONSTANT = "has one value only"
"""Told of a tensor in one batch; in the next it may be an image, or a mask."""

FEW = 32
"""How many values masks and maps of classes have at most."""

_TARGETS = frozenset(
    words(
        "label labels mask masks target targets seg segm segmentation segmentations "
        "annotation annotations anno gt truth y depth depths disparity weight weights "
        "heatmap heatmaps edge edges boundary boundaries contour contours distance "
        "distances dist sdf flow flows normals map maps density prob probs probability "
        "probabilities logit logits attention grid grids noise score scores class "
        "classes onehot landmark landmarks keypoint keypoints bbox bboxes box boxes "
        "roi rois confidence uncertainty saliency alpha matte"
    )
)
_IMAGES = frozenset(
    words(
        "image images img imgs picture pictures pic pics photo photos view views crop "
        "crops pixel pixels x xs input inputs frame frames video videos clip clips "
        "volume volumes scan scans rgb"
    )
)


def channels_of(normalize: NormalizeStats | None) -> tuple[int, ...]:
    """Return how many channels images may have, the more usual number first."""
    if normalize is None:
        return (3, 1)
    count = len(normalize["mean"])
    return (1, 3) if count == 1 else (count,)


def has_shape(leaf: Tensor, channels: int) -> bool:
    """Whether a tensor has the shape (B, ..., C, H, W) of images.

    Lightly's VICRegL has grids of shape (B, 3, 3, 2) in its batches: they hold places.
    """
    return (
        leaf.dim() >= 4
        and leaf.shape[-3] == channels
        and min(leaf.shape[-2:]) >= SMALLEST
    )


def is_volume(leaf: Tensor, channels: int) -> bool:
    """Whether a tensor has the shape (B, C, D, H, W) of volumes and videos."""
    return (
        leaf.dim() == 5
        and leaf.shape[1] == channels
        and leaf.shape[-3] != channels
        and min(leaf.shape[-2:]) >= SMALLEST
    )


def is_single(leaf: Tensor, channels: int) -> bool:
    """Whether a tensor has the shape (C, H, W) of one image."""
    return (
        leaf.dim() == 3
        and leaf.shape[0] == channels
        and min(leaf.shape[-2:]) >= SMALLEST
    )


def tell_apart(candidates: Sequence[Place], known: dict[Path, str]) -> dict[Path, str]:
    """Tell which tensors of the shape of images are none, and why.

    Names tell first: what lies under `mask` or `depth_map` is none, as long as
    something else is left. Of the others, what is itself called an image is one, and
    those with the values of masks (few whole numbers, or shares that add up to 1 over
    the channels) are none beside those that have other values.

    Args:
        candidates: Tensors of the shape of images.
        known: What was found at the places of earlier batches; it is added to, so that
            a place is the same in all batches.

    Returns:
        The reasons of those that are no images, by path.
    """
    found = {place.path: known.get(place.path) for place in candidates}
    named = {path: _called_target(path) for path in found}
    if not all(named.values()):
        found |= {path: why for path, why in named.items() if why}
    open_ = [place for place in candidates if found[place.path] is None]
    values = {
        place.path: None
        if _named_image(place.path)
        else _values_of_target(place.view())
        for place in open_
    }
    # Without others to compare them with, the values of images may be few as well.
    if all(values.values()) and "" not in found.values():
        values = dict.fromkeys(values)
    found |= {path: why or "" for path, why in values.items()}
    known |= {path: why for path, why in found.items() if why != CONSTANT}
    return {path: why for path, why in found.items() if why}


def called_image(path: Path) -> bool:
    """Whether the names on the way to a tensor say that it is an image."""
    return any(word in _IMAGES for key in path for word in words(key))


def _called_target(path: Path) -> str | None:
    """The innermost name that says anything decides."""
    for key in reversed(path):
        spoken = words(key)
        if any(word in _TARGETS for word in spoken):
            return f"is called {key!r}"
        if any(word in _IMAGES for word in spoken):
            return None
    return None


def _named_image(path: Path) -> bool:
    """Whether the name of the tensor itself says that it is an image."""
    return called_image(path[-1:])


def _values_of_target(view: Tensor) -> str | None:
    values = view.detach()
    if not values.numel():
        return None
    if bool((values == values.round()).all()):
        count = len(torch.unique(values))
        if count == 1:
            return CONSTANT
        return f"has only {count} values, all whole numbers" if count <= FEW else None
    # Shares of classes: soft labels, or one-hot masks after resizing or mixing.
    if values.shape[-3] > 1 and bool((values >= 0).all()):
        total = values.float().sum(dim=-3)
        if bool(torch.isclose(total, total.new_ones(()), atol=1e-3).all()):
            return "adds up to 1 over its channels"
    return None
