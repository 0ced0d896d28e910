"""Find the pictures in a batch, and put others in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightly_adv.types import Normalize

ViewPolicy: TypeAlias = (
    Literal["global"] | Sequence[int] | Callable[[Any], Sequence[Tensor]] | None
)
"""Which picture views to perturb: all (None), the largest, some, or a function."""


SMALLEST = 4
"""Height and width, in pixels, from which on a tensor can be a picture."""


@dataclass(frozen=True)
class SelectedViews:
    """The selected views of one batch, and the way back.

    Args:
        views: The selected views.
        pictures: All picture views of the batch, selected or not.
    """

    views: list[Tensor]
    pictures: list[Tensor]
    _batch: Any

    def replace(self, views: Sequence[Tensor]) -> Any:
        """Return the batch with other views in the selected places."""
        new = {id(old): view for old, view in zip(self.views, views, strict=True)}
        return self._with(lambda tensor: new.get(id(tensor), tensor))

    def copied(self, views: Sequence[Tensor]) -> Any:
        """Return the same with copies of all tensors, which a step may write into.

        Gradients reach the views through their copies.
        """
        chosen = zip(self.views, views, strict=True)
        copies = {id(old): view.clone() for old, view in chosen}

        def copy(tensor: Tensor) -> Tensor:
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.clone()
            return copies[id(tensor)]

        return self._with(copy)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Any:
        return _mapped(change, self._batch)


class _FrozenType(type):
    def __instancecheck__(cls, value: Any) -> bool:
        parameters = getattr(type(value), "__dataclass_params__", None)
        return bool(getattr(parameters, "frozen", False))


class _Frozen(metaclass=_FrozenType):
    """Dataclasses that nothing can be put into, and that stay as they are."""


def _mapped(change: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """Return a batch with other tensors in it."""

    def changed(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, Tensor) else leaf

    return apply_to_collection(batch, (Tensor, _Frozen), changed)


def select_views(
    batch: Any, *, policy: ViewPolicy, normalize: Normalize | None
) -> SelectedViews:
    """Select views in a batch of any nesting that Lightning moves to a device.

    That is lists, tuples, dicts and dataclasses, also named ones and subclasses; what
    is in frozen dataclasses and other objects is not looked at.

    A picture view is a floating tensor of at least four dimensions whose dimension -3
    has as many entries as `normalize` has channels, and whose height and width are at
    least 4. Without `normalize` it has 3 channels, or 1 if no tensor has 3. Labels,
    masks, grids and index lists are not, and stay as they are. A tensor that the batch
    holds twice is one view.

    Args:
        batch: What the data loader yields.
        policy: None for every picture view, "global" for the largest ones, indices
            into the picture views, or a function from the batch to tensors in it.
        normalize: Mean and std with which the views were normalised, if they were.

    Raises:
        TypeError: If the pictures are integers, or `policy` is of another kind.
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
    check_policy(policy)
    leaves: list[Tensor] = []

    def noted(leaf: Tensor) -> Tensor:
        leaves.append(leaf)
        return leaf

    _mapped(noted, batch)
    channels = (3, 1) if normalize is None else (len(normalize["mean"]),)
    pictures = _pictures(leaves, channels)
    if callable(policy):
        positions = _identified(policy(batch), leaves)
    elif pictures:
        positions = _chosen(policy, leaves, pictures)
    else:
        raise _no_pictures(leaves, channels)
    everything = [leaves[at] for at in dict.fromkeys([*pictures, *positions])]
    chosen = {id(leaves[at]): leaves[at] for at in positions}
    return SelectedViews(list(chosen.values()), everything, batch)


def _pictures(leaves: list[Tensor], channels: tuple[int, ...]) -> list[int]:
    """Places of the pictures; with the first number of channels that there is."""
    for count in channels:
        shaped = [at for at, leaf in enumerate(leaves) if _has_shape(leaf, count)]
        floating = [at for at in shaped if leaves[at].is_floating_point()]
        if floating:
            return floating
    return []


def _has_shape(leaf: Tensor, channels: int) -> bool:
    """Whether a leaf has the shape of pictures.

    Lightly's VICRegL has grids of shape (B, 3, 3, 2) in its batches: they hold places.
    """
    return (
        leaf.dim() >= 4
        and leaf.shape[-3] == channels
        and min(leaf.shape[-2:]) >= SMALLEST
    )


def _no_pictures(leaves: list[Tensor], channels: tuple[int, ...]) -> Exception:
    shaped = [leaf for leaf in leaves for count in channels if _has_shape(leaf, count)]
    if any(leaf.dtype == torch.uint8 for leaf in shaped):
        return TypeError(
            "the pictures in the batch have dtype torch.uint8; expected floating "
            "tensors. Convert them in the transform, for instance with "
            "v2.ToDtype(torch.float32, scale=True)."
        )
    seen = [f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves]
    return ValueError(
        f"no picture view found in the batch; expected a floating tensor of shape "
        f"(B, ..., C, H, W) with C in {sorted(channels)} and at least {SMALLEST} x "
        f"{SMALLEST} pixels, but its tensors are {seen or 'none'}. Pass views= a "
        "function from the batch to the tensors to perturb."
    )


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
            "for all picture views."
        )


def _chosen(policy: Any, leaves: list[Tensor], pictures: list[int]) -> list[int]:
    if policy is None:
        return pictures
    if policy == "global":
        areas = [leaves[at].shape[-1] * leaves[at].shape[-2] for at in pictures]
        return [
            at for at, area in zip(pictures, areas, strict=True) if area == max(areas)
        ]
    if any(not 0 <= index < len(pictures) for index in policy):
        raise ValueError(
            f"views={list(policy)} does not fit a batch with {len(pictures)} picture "
            f"views; expected indices from 0 to {len(pictures) - 1}."
        )
    return [pictures[index] for index in policy]


def _identified(views: Any, leaves: list[Tensor]) -> list[int]:
    if not isinstance(views, Sequence) or not views:
        raise ValueError(
            f"the function given as views= returned {_shown(views)}; {_EXPECTED_VIEWS}"
        )
    places = {id(leaf): at for at, leaf in enumerate(leaves)}
    for view in views:
        if not _is_picture_like(view):
            raise ValueError(
                f"the function given as views= returned {_shown(view)}, which is no "
                f"picture view; {_EXPECTED_VIEWS}"
            )
        if id(view) not in places:
            raise ValueError(
                f"the function given as views= returned {_shown(view)}, which is not "
                f"in the batch; {_EXPECTED_VIEWS}"
            )
    return [places[id(view)] for view in views]


def _is_picture_like(view: Any) -> bool:
    """Whether it can be perturbed; with any number of channels, as it was asked for."""
    return isinstance(view, Tensor) and view.dim() >= 4 and view.is_floating_point()


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"a {type(value).__name__}" if value != [] else "an empty list"


_EXPECTED_VIEWS = (
    "expected a list of tensors that are in the batch itself, not copies or slices of "
    "them, floating and of shape (B, ..., C, H, W)."
)
