"""How far pixels can move, and by how much they have moved too far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightly_adv.functional import deferred, norms, precision, value_range
from lightly_adv.types import Norm


class PerturbationBox(NamedTuple):
    """The box of pixel perturbations of one view."""

    lower: Tensor
    upper: Tensor
    std: Tensor
    """What leads from the view to pixels, of shape (C, 1, 1)."""

    plain: bool = False
    """Whether the view is pixels, with a std of 1."""

    def to_pixels(self, change: Tensor) -> Tensor:
        """Return the change of a view as one of its pixels."""
        return change if self.plain else change * self.std

    def to_view(self, delta: Tensor) -> Tensor:
        """Return the change of pixels as one of the view."""
        return delta if self.plain else delta / self.std


def around(
    position: Tensor, *, bounds: tuple[float, float], reach: float = math.inf
) -> tuple[Tensor, Tensor]:
    """Return how far pixels can move inside the bounds.

    A pixel outside of the bounds moves back at most; one that lies outside by more than
    `value_range.TOLERANCE` of their width, or that is NaN, does not move.

    Args:
        position: Where the pixels are, of shape (B, ..., C, H, W).
        bounds: Smallest and largest valid pixel.
        reach: How far a pixel moves at most.

    Examples:
        >>> around(torch.tensor([0.1, 0.5, 1.2]), bounds=(0.0, 1.0))
        (tensor([-0.1000, -0.5000,  0.0000]), tensor([0.9000, 0.5000, 0.0000]))
    """
    low, high = bounds
    slack = value_range.TOLERANCE * (high - low)
    lower, upper = low - position, high - position
    still = ((lower <= slack) & (upper >= -slack)).logical_not_()
    # Views a rounding error outside of the bounds are left there, not moved.
    lower = lower.clamp_(min=-reach, max=0).masked_fill_(still, 0)
    upper = upper.clamp_(min=0, max=reach).masked_fill_(still, 0)
    return lower, upper


def added(view: Tensor, delta: Tensor, box: PerturbationBox) -> Tensor:
    """Return a new tensor with the view and a perturbation of its pixels.

    Pixels that do not move, dtype and memory format are those of the view.
    """
    moved = (view + box.to_view(delta)).to(view.dtype)
    still = delta == 0
    if still.stride() != view.stride():
        # `where` takes the memory format of its condition.
        still = torch.empty_like(view, dtype=torch.bool).copy_(still)
    return torch.where(still, view, moved)


def movable(delta: Tensor, grad: Tensor, box: PerturbationBox) -> Tensor:
    """Zero the gradient of pixels that already stand at the bound it points to.

    An L1 step moves few pixels; without this it would be spent on those that the
    projection puts back.
    """
    stuck = ((grad > 0) & (delta >= box.upper)) | ((grad < 0) & (delta <= box.lower))
    return grad.masked_fill(stuck, 0)


def changed(
    view: Tensor, perturbed: Tensor, box: PerturbationBox, *, norm: Norm
) -> Tensor:
    """Measure by how much a view was changed, and by how much too far for its box.

    Returns:
        Tensor of shape (2,): the largest norm of a sample, and the largest distance of
        a pixel from the box; not positive inside.

    Examples:
        >>> view = torch.full((1, 1, 1, 2), 0.9)
        >>> box = PerturbationBox(*around(view, bounds=(0.0, 1.0)), torch.ones(1), True)
        >>> changed(view, view + 0.25, box, norm="Linf")
        tensor([0.2500, 0.1500])
    """
    moved = precision.working(perturbed) - precision.working(view)
    delta = box.to_pixels(moved)
    size = norms.norm(delta, norm=norm).max()
    outside = torch.maximum(box.lower - delta, delta - box.upper).amax()
    return torch.stack([size, outside])


def check(
    view: Tensor,
    perturbed: Tensor,
    box: PerturbationBox,
    *,
    norm: Norm,
    eps: float,
    bounds: tuple[float, float],
) -> None:
    """Refuse a change of more than rounding errors too far, see `deferred.checks`.

    Raises:
        ValueError: If the perturbation leaves the ball or the bounds.
    """
    rounding = max(1e-6, 2 * torch.finfo(view.dtype).eps)
    slack = rounding * max(map(abs, bounds))
    largest = eps + slack * norms.norm_of_ones(math.prod(view.shape[1:]), norm=norm)

    def judge(values: Sequence[float]) -> None:
        size, outside = values
        if not size <= largest:
            raise ValueError(
                f"the perturbation has {norm} norm {size:.6g}, more than "
                f"eps={eps:.6g}; the attack must project its result."
            )
        if not outside <= slack:
            raise ValueError(
                f"perturbed pixels leave the bounds {bounds} by {outside:.3g}; the "
                "attack must clip its result."
            )

    with deferred.checks() as pending:
        pending.add(changed(view, perturbed, box, norm=norm), judge)
