"""Which of the images in a batch are perturbed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor

from lightly_adv.errors import UnfitBatchError
from lightly_adv.training import image_search, places
from lightly_adv.training.places import Path, Place

ViewPolicy: TypeAlias = (
    Literal["global"]
    | str
    | Sequence[int]
    | Sequence[str]
    | Callable[[Any], Sequence[Tensor]]
    | None
)
"""Which views to perturb: all (None), the largest, some, a function, or submodules."""


def check_policy(policy: Any) -> None:
    """Refuse what is no way to select views, whatever the batch.

    Raises:
        TypeError: If it is of another kind.
        ValueError: If it is an empty list.

    Examples:
        >>> check_policy("local")
        Traceback (most recent call last):
        TypeError: views='local' is not understood; expected None, 'global', a list ...
    """
    if policy is None or callable(policy) or policy == "global":
        return
    listed = isinstance(policy, Sequence) and not isinstance(policy, str)
    if not listed or any(type(index) is not int for index in policy):
        raise TypeError(
            f"views={policy!r} is not understood; expected None, 'global', a list of "
            "indices, or a function from the batch to tensors."
        )
    if not policy:
        raise ValueError(
            f"views={policy!r} selects nothing; expected at least one index, or None "
            "for all image views."
        )


def chosen(policy: Any, images: list[Place]) -> list[Place]:
    """Return the images that a policy selects, other than a function.

    Raises:
        UnfitBatchError: If there are not as many.
    """
    if policy is None:
        return images
    if policy == "global":
        areas = [_area(place.leaves[0]) for place in images]
        return [
            place
            for place, area in zip(images, areas, strict=True)
            if area == max(areas)
        ]
    if any(not 0 <= index < len(images) for index in policy):
        raise UnfitBatchError(
            f"views={list(policy)} does not fit a batch with {len(images)} image "
            f"views; expected indices from 0 to {len(images) - 1}."
        )
    return list(dict.fromkeys(images[index] for index in policy))


def _area(leaf: Tensor) -> int:
    return leaf.shape[-1] * leaf.shape[-2]


def identified(
    views: Any,
    found: list[tuple[Path, Tensor]],
    images: list[Place],
    channels: tuple[int, ...],
) -> list[Place]:
    """Return where the views are that a function has selected.

    Args:
        views: What it returned.
        found: The tensors in the batch.
        images: The images among them.
        channels: How many channels an image has.

    Raises:
        ValueError: If they are no views of this batch.
    """
    if not isinstance(views, Sequence) or not views:
        raise ValueError(
            f"the function given as views= returned {_shown(views)}; {_EXPECTED_VIEWS}"
        )
    paths = {id(leaf): path for path, leaf in found}
    for view in views:
        if not _is_image_like(view, channels):
            raise ValueError(
                f"the function given as views= returned {_shown(view)}, which is no "
                f"image view; {_EXPECTED_VIEWS}"
            )
        if id(view) not in paths:
            raise ValueError(
                f"the function given as views= returned {_shown(view)}, which is not "
                f"in the batch; {_EXPECTED_VIEWS}"
            )
    asked = [
        (paths[id(view)], view) for view in {id(view): view for view in views}.values()
    ]
    # What is asked for is one view, even where it is a stack of several.
    known = {id(place.leaves[0]): place for place in images if place.parts is None}
    return [
        *(
            known.get(id(view)) or Place(path, (view,))
            for path, view in asked
            if view.dim() > 3
        ),
        *places.samples(asked, lambda view: view.dim() == 3),
    ]


def _is_image_like(view: Any, channels: tuple[int, ...]) -> bool:
    """Whether it can be perturbed; with any number of channels, as it was asked for."""
    if not (isinstance(view, Tensor) and view.is_floating_point()):
        return False
    return view.dim() >= 4 or any(
        image_search.is_single(view, each) for each in channels
    )


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"a {type(value).__name__}" if value != [] else "an empty list"


_EXPECTED_VIEWS = (
    "expected a list of tensors that are in the batch itself, not copies or slices of "
    "them, floating and of shape (B, ..., C, H, W), or (C, H, W) in lists of images."
)
